// Where pushing is measured: the service with an APNs of the bench's own, and users who have a bound device each and have
// never connected. What they were sent can be stored without the service, and is pushed once it is said to be due.

import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ApnsCredentials } from '../../src/push/apns_credentials.ts';
import { untilQuiet } from '../processes.ts';
import type { Service, Site, Tenant } from '../service.ts';
import { startTasks, type TaskProcess } from '../tasks.ts';
import { insertUsersInTurn } from '../users.ts';
import type { Tasks } from './apns.ts';
import { makeAccount } from './credentials.ts';

const APNS = fileURLToPath(new URL('apns.ts', import.meta.url));
const SERVE = fileURLToPath(new URL('serve.ts', import.meta.url));
const HANDLED_MS = 100;

export interface PushStage extends AsyncDisposable {
  readonly origin: string;
  readonly apns: TaskProcess<Tasks>;
  readonly service: Service;
  readonly app: Tenant;
  /** Each of them gets a message, of a sender that none of them had one of; nothing is due by it. */
  store(): Promise<void>;
  /** Has Postgres write out what it has put off, which is no part of what is measured next. */
  rest(): Promise<void>;
  /** Has what was stored pushed. */
  makeDue(): Promise<void>;
  /** Resolves when nothing is left to be pushed. */
  untilHandled(): Promise<void>;
}

/** `isStrict`: its APNs looks at what comes. */
export async function openPushStage(
  site: Site,
  users: number,
  { isStrict = false } = {},
): Promise<PushStage> {
  const { account, credentials } = await makeAccount();
  const apns = startTasks<Tasks>(APNS);
  const origin = await apns.ask('listen', isStrict ? account : undefined);
  const { pool, startService } = await site.createDatabase();
  const service = await startService({ APNS_ORIGIN: origin }, SERVE);
  const app = await service.createApp(['composed']);
  const appId = Number(app.appId);
  await putCredentials(app, credentials);
  await insertUsersInTurn(pool, { appId: app.appId, from: 0, to: users });
  await pool.query('update identity set has_push = true where app_id = $1', [appId]);
  await pool.query(
    `insert into device (app_id, identity_id, id, acked_seq, platform, provider, push_token, environment, bound_at)
     select app_id, id, 'phone', 0, 'ios', 'apns', lpad(to_hex(id), 64, '0'), 'production', now()
     from identity where app_id = $1`,
    [appId],
  );
  await pool.query('vacuum (analyze) identity, device');
  let senders = 0;

  return {
    origin,
    apns,
    service,
    app,

    async store() {
      const { rows } = await pool.query<{ id: string }>(
        `insert into identity (app_id, name) values ($1, $2) returning id`,
        [appId, `sender-${(senders += 1)}`],
      );
      await pool.query(
        `with moved as (
           update identity set last_seq = last_seq + 1
           where app_id = $1 and has_push returning id, last_seq
         )
         insert into message (app_id, id, sender_id, sender_seq, recipient_id, recipient_seq, client_id, part, content, at)
         select $1, gen_random_uuid(), $2, id, id, last_seq, 'stored-' || id, 0, $3, now() from moved`,
        [appId, rows[0]!.id, JSON.stringify('x'.repeat(64))],
      );
      await pool.query('vacuum (analyze) identity, device, message, push_due');
    },

    async rest() {
      await pool.query('checkpoint');
      await untilQuiet(service.cpuSeconds);
    },

    async makeDue() {
      await pool.query(
        `insert into push_due (app_id, identity_id, due_at)
         select app_id, id, now() from identity where app_id = $1 and has_push order by id`,
        [appId],
      );
    },

    async untilHandled() {
      while ((await pool.query('select from push_due limit 1')).rowCount !== 0) await sleep(HANDLED_MS);
    },

    async [Symbol.asyncDispose]() {
      await service[Symbol.asyncDispose]();
      await apns[Symbol.asyncDispose]();
    },
  };
}

async function putCredentials(app: Tenant, credentials: ApnsCredentials): Promise<void> {
  const response = await fetch(`${app.url}/push/apns`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${app.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify(credentials),
  });
  if (!response.ok) throw new Error(`The credentials were refused: ${await response.text()}`);
}
