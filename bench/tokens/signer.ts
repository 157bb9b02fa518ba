// What issuing is measured beside: bare `jose` that signs, so many at a time, each once one before is done.

import { generateKeyPair, SignJWT, type JWTHeaderParameters, type JWTPayload } from 'jose';
import { perform } from '../tasks.ts';

const { privateKey } = await generateKeyPair('ES256');

interface Order {
  header: JWTHeaderParameters;
  claims: JWTPayload;
  atATime: number;
  ms: number;
}

const tasks = {
  /** Gives back how many were signed in so many milliseconds. */
  async sign({ header, claims, atATime, ms }: Order): Promise<number> {
    const end = performance.now() + ms;
    let count = 0;
    async function signOn(): Promise<void> {
      for (; performance.now() < end; count += 1)
        await new SignJWT(claims).setProtectedHeader(header).sign(privateKey);
    }
    await Promise.all(Array.from({ length: atATime }, signOn));
    return count;
  },
};

export type Tasks = typeof tasks;

perform(tasks);
