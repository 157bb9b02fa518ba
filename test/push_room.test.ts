// What a provider that is slow to answer takes up of a process, beside the pushes of others that are due at the same time.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Apps } from '../src/identity/apps.ts';
import type { AppId } from '../src/ids.ts';
import type { PushAccounts } from '../src/routing/push_accounts.ts';
import { createPushing } from '../src/routing/pushing.ts';
import { eventually, startService } from './harness.ts';

/** Of each of two apps that are slow as many as may be under way of all together. */
const [SLOW, QUICK] = [1_000, 600];

test('apps whose providers do not answer leave room for another app, whose pushes are due among theirs', async (t) => {
  const { database, createApp } = await startService({ app: { pushIntervalMs: 3_600_000 } });
  const all = [await createApp(), await createApp(), await createApp()].map(
    (app) => Number(app.appId) as AppId,
  );
  const [quick, ...slow] = all as [AppId, AppId, AppId];
  const sent = new Map(all.map((appId) => [appId, 0]));
  const answer = Promise.withResolvers<void>();
  const changedAt = new Date();
  const accountOf = (appId: AppId): object => ({
    changedAt,
    provider: {
      async send() {
        sent.set(appId, sent.get(appId)! + 1);
        if (appId !== quick) await answer.promise;
        return { kind: 'sent' };
      },
    },
  });
  const apps = { peek: (id: AppId) => ({ id, pushWhen: 'device', pushTemplates: {}, pushShowsText: true }) };
  const inboxes = 'unnest($1::bigint[], $2::integer[]) a (app_id, count), generate_series(1, count) n';
  for (const text of [
    `insert into identity (app_id, id, name, last_seq, has_push) overriding system value
      select app_id, n, 'u' || n, 1, true from ${inboxes}`,
    `insert into device (app_id, identity_id, id, acked_seq, provider, push_token, environment)
      select app_id, n, 'd', 0, 'fcm', 't' || n, 'production' from ${inboxes}`,
    `insert into message (app_id, id, recipient_id, recipient_seq, client_id, part, content, at)
      select app_id, gen_random_uuid(), n, 1, 'c', 0, '1', now() from ${inboxes}`,
    `insert into push_due (app_id, identity_id, due_at)
      select app_id, n, now() - interval '1 hour' + n * interval '1 second' from ${inboxes}`,
  ])
    await database.pool.query(text, [all, [QUICK, SLOW, SLOW]]);

  const pushing = createPushing({
    database,
    apps: apps as unknown as Apps,
    accounts: { peek: accountOf, close() {} } as unknown as PushAccounts,
    meters: { pushed() {} },
    isBusy: () => false,
    log: (message, error) => t.diagnostic(`${message}: ${String(error)}`),
    intervalMs: 50,
  });
  t.after(async () => {
    answer.resolve();
    await pushing.stop();
  });
  await eventually(() => sent.get(quick) === QUICK, 'all pushes of the other app');
  for (const appId of slow) assert.ok(sent.get(appId)! >= 250, `${sent.get(appId)} of a slow one`);
});
