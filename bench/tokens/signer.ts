// What issuing is measured beside: bare `jose` that signs, each once the one before is done.

import { generateKeyPair, SignJWT, type JWTHeaderParameters, type JWTPayload } from 'jose';
import { perform } from '../tasks.ts';

const { privateKey } = await generateKeyPair('ES256');

const tasks = {
  /** Gives back how many were signed in so many milliseconds. */
  async sign({ header, claims, ms }: { header: JWTHeaderParameters; claims: JWTPayload; ms: number }) {
    const end = performance.now() + ms;
    let count = 0;
    for (; performance.now() < end; count += 1)
      await new SignJWT(claims).setProtectedHeader(header).sign(privateKey);
    return count;
  },
};

export type Tasks = typeof tasks;

perform(tasks);
