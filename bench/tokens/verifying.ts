// Verifying a token as a connect does, with the service's keys and nothing revoked, beside bare `jose` that is told what to
// take.

import { jwtVerify } from 'jose';
import { composeImId, type AppId, type Name } from '../../src/ids.ts';
import { measureInTurn, type Side } from '../measure.ts';
import { toTimesRow, type Row } from '../results.ts';
import type { Site } from '../service.ts';
import { nameOf } from '../users.ts';
import { ISSUER, openStage } from './stage.ts';

const TOKENS = 1_000;
const APP = 1 as AppId;

export async function verifying(site: Site, isQuick: boolean): Promise<Row[]> {
  const rounds = isQuick ? 2 : 25;
  const roundMs = isQuick ? 50 : 400;
  const { connection } = await site.createDatabase();
  await using stage = await openStage(connection);
  const { tokens, keys, revocations } = stage;
  const issued: string[] = [];
  for (let n = 0; n < TOKENS; n += 1)
    issued.push((await tokens.issue({ appId: APP, imId: composeImId(APP, nameOf(n) as Name) })).token);
  const { kid, alg } = keys.current();
  const { publicKey } = (await keys.find(kid))!;
  const pinned = { algorithms: [alg], issuer: ISSUER, audience: `imid:${APP}`, typ: 'imid+jwt' };

  const side = (verify: (token: string) => Promise<unknown>): Side => ({
    cpuSeconds() {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    },
    // Or it would be without news for too long.
    prepare: () => revocations.follow(),
    async run() {
      const end = performance.now() + roundMs;
      let n = 0;
      for (; performance.now() < end; n += 1) await verify(issued[n % TOKENS]!);
      return n;
    },
  });
  const measured = await measureInTurn(
    { ours: side(tokens.verify), beside: side((token) => jwtVerify(token, publicKey, pinned)) },
    rounds,
  );
  return [
    toTimesRow('verifying at a connect', 1.2, measured, { of: 'tokens', beside: 'bare `jose.jwtVerify`' }),
  ];
}
