// Issuing tokens over HTTP to the backends of a hundred apps, each by a key of its own, beside bare `jose` that signs.

import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { decodeJwt, decodeProtectedHeader, type JWTHeaderParameters } from 'jose';
import { openLoad, toRequest } from '../load.ts';
import { measureInTurn, type Measured, type Side } from '../measure.ts';
import { perSecond, toFigure, toRatioRow, type Row } from '../results.ts';
import { post, type Site, type Tenant } from '../service.ts';
import { startTasks } from '../tasks.ts';
import { nameOf } from '../users.ts';
import type { Tasks } from './signer.ts';

const SIGNER = fileURLToPath(new URL('signer.ts', import.meta.url));
const CONNECTIONS = 50;
const APPS = 100;
const USERS_OF_EACH = 10;

export async function issuing(site: Site, isQuick: boolean): Promise<Row[]> {
  const rounds = isQuick ? 2 : 15;
  const roundMs = isQuick ? 100 : 700;
  const database = await site.createDatabase();
  await using service = await database.startService();
  const apps: Tenant[] = [];
  for (let n = 0; n < APPS; n += 1) apps.push(await service.createApp(['composed']));
  const requests = Array.from({ length: APPS * USERS_OF_EACH }, (_, n) => {
    const app = apps[n % APPS]!;
    return toRequest(`${app.url}/tokens`, app.apiKey, { uid: nameOf(n) });
  });

  const first = apps[0]!;
  const { token } = await post<{ token: string }>(`${first.url}/tokens`, first.apiKey, { uid: nameOf(0) });
  const header = decodeProtectedHeader(token) as JWTHeaderParameters;
  const claims = decodeJwt(token);
  assert.equal(header.alg, 'ES256');

  using load = await openLoad(service.url, CONNECTIONS);
  await using signer = startTasks<Tasks>(SIGNER);
  const bare = (atATime: number): Side => ({
    cpuSeconds: () => signer.cpuSeconds(),
    run: () => signer.ask('sign', { header, claims, atATime, ms: roundMs }),
  });
  const measured = await measureInTurn(
    {
      ours: {
        cpuSeconds: () => service.cpuSeconds(),
        run() {
          const end = performance.now() + roundMs;
          let n = 0;
          return load.run(() => (performance.now() < end ? requests[n++ % requests.length] : undefined));
        },
      },
      beside: bare(1),
      // As many as the service has requests: less of it is waiting for each other.
      atOnce: bare(CONNECTIONS),
    },
    rounds,
  );
  const row = toRatioRow(`issuing over HTTP, ${APPS} API keys of ${APPS} apps in use`, 0.6, measured, {
    of: 'tokens',
    beside: 'bare `jose` signing one after another',
  });
  return [
    {
      ...row,
      ours: `${row.ours}${perCpuSecond(measured.ours)}`,
      theirs: `${row.theirs}${perCpuSecond(measured.beside)}, ${CONNECTIONS} at a time ${perSecond(measured.atOnce)}${perCpuSecond(measured.atOnce)}`,
    },
  ];
}

function perCpuSecond({ cpuSecondsPerUnit }: Measured): string {
  return cpuSecondsPerUnit === undefined ? '' : ` (${toFigure(1 / cpuSecondsPerUnit)} in a CPU second)`;
}
