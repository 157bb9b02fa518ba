// What is to be pushed: inboxes that somebody has to look at, how the devices of their users stand, and what came of it.

import { sql } from 'kysely';
import type { AppId } from '../ids.ts';
import { ALIVE } from './connections.ts';
import type { Executor } from './database.ts';
import { toUser, type User } from './identities.ts';

/** An inbox that was taken to be looked at; nobody else does until the lease is over. */
export interface DueInbox {
  appId: AppId;
  id: number;
  /** Up to where it reached when it was taken. */
  seq: number;
}

/** Takes inboxes that are due, for so long. */
export async function leaseDue(db: Executor, limit: number, leaseMs: number): Promise<DueInbox[]> {
  const { rows } = await sql<{ app_id: number; identity_id: number; seq: number }>`
    update push_due d set leased_until = now() + ${leaseMs} * interval '1 millisecond'
    from (
      select app_id, identity_id from push_due
      where due_at <= now() and (leased_until is null or leased_until < now())
      order by due_at limit ${limit} for update skip locked
    ) t
    where d.app_id = t.app_id and d.identity_id = t.identity_id
    returning d.app_id, d.identity_id, d.seq`.execute(db);
  return rows.map((row) => ({ appId: row.app_id as AppId, id: row.identity_id, seq: row.seq }));
}

/** Gives an inbox back: done, unless more has come meanwhile; or due again at a time. */
export async function returnDue(db: Executor, { appId, id, seq }: DueInbox, again?: Date): Promise<void> {
  const isIt = sql`app_id = ${appId} and identity_id = ${id}`;
  if (!again) {
    const { rows } = await sql`delete from push_due where ${isIt} and seq = ${seq} returning 1`.execute(db);
    if (rows.length > 0) return;
  }
  await sql`
    update push_due set leased_until = null, due_at = case when seq = ${seq} then ${again ?? sql`due_at`} else due_at end
    where ${isIt}`.execute(db);
}

/** A device that can be reached by push, and how it stands. */
export interface PushDevice {
  id: string;
  provider: string;
  token: string;
  environment: 'production' | 'sandbox';
  boundAt: Date;
  ackedSeq: number;
  pushedSeq: number;
  attempts: number;
  retryAt: Date | undefined;
  /** Undefined: it isn't connected. */
  isForeground: boolean | undefined;
}

export async function findPushDevices(
  db: Executor,
  appId: AppId,
  identityId: number,
): Promise<{ devices: PushDevice[]; hasForeground: boolean; maxAcked: number }> {
  const { rows } = await sql<{
    id: string;
    provider: string | null;
    push_token: string | null;
    environment: string | null;
    bound_at: Date | null;
    acked_seq: number;
    pushed_seq: number;
    push_attempts: number;
    push_retry_at: Date | null;
    is_foreground: boolean | null;
  }>`
    select d.id, d.provider, d.push_token, d.environment, d.bound_at, d.acked_seq, d.pushed_seq, d.push_attempts,
      d.push_retry_at, c.is_foreground
    from device d left join connection c
      on c.app_id = d.app_id and c.identity_id = d.identity_id and c.device_id = d.id
      and exists (select from process p where p.id = c.process_id and ${sql.raw(ALIVE)})
    where d.app_id = ${appId} and d.identity_id = ${identityId} order by d.id`.execute(db);
  return {
    hasForeground: rows.some((row) => row.is_foreground),
    maxAcked: Math.max(0, ...rows.map((row) => row.acked_seq)),
    devices: rows.flatMap((row) =>
      row.push_token === null
        ? []
        : [
            {
              id: row.id,
              provider: row.provider!,
              token: row.push_token,
              environment: row.environment as PushDevice['environment'],
              boundAt: row.bound_at!,
              ackedSeq: row.acked_seq,
              pushedSeq: row.pushed_seq,
              attempts: row.push_attempts,
              retryAt: row.push_retry_at ?? undefined,
              isForeground: row.is_foreground ?? undefined,
            },
          ],
    ),
  };
}

/** A message that may be pushed. */
export interface Pushable {
  seq: number;
  messageId: string;
  senderId: number | undefined;
  /** JSON text. */
  push: string | undefined;
  at: Date;
}

/** What others have sent to an inbox behind a seq, but for what nobody is told of; the newest of them. */
export async function findPushable(
  db: Executor,
  appId: AppId,
  identityId: number,
  afterSeq: number,
  limit: number,
): Promise<Pushable[]> {
  const { rows } = await sql<{
    seq: number;
    id: string;
    sender_id: number | null;
    push: string | null;
    at: Date;
  }>`
    select recipient_seq as seq, id, sender_id, push, at from message
    where app_id = ${appId} and recipient_id = ${identityId} and recipient_seq > ${afterSeq}
      and sender_id is distinct from recipient_id and not is_imported and recalled_at is null and recalls is null
    order by recipient_seq desc limit ${limit}`.execute(db);
  return rows
    .map((row) => ({
      seq: row.seq,
      messageId: row.id,
      senderId: row.sender_id ?? undefined,
      push: row.push ?? undefined,
      at: row.at,
    }))
    .toReversed();
}

interface Pushed {
  appId: AppId;
  identityId: number;
  device: Pick<PushDevice, 'id' | 'token'>;
}

const isStill = ({ appId, identityId, device }: Pushed) => sql`
  app_id = ${appId} and identity_id = ${identityId} and id = ${device.id} and push_token = ${device.token}`;

/** All up to a seq was pushed to a device, or never will be. */
export async function markPushed(db: Executor, pushed: Pushed, seq: number): Promise<void> {
  await sql`
    update device set pushed_seq = greatest(pushed_seq, ${seq}), push_attempts = 0, push_retry_at = null
    where ${isStill(pushed)}`.execute(db);
}

export async function markRetry(db: Executor, pushed: Pushed, at: Date): Promise<void> {
  await sql`
    update device set push_attempts = push_attempts + 1, push_retry_at = ${at} where ${isStill(pushed)}`.execute(
    db,
  );
}

export async function insertPushFailure(
  db: Executor,
  { appId, identityId, device }: Pushed,
  failure: { provider: string; messageId: string; reason: string },
): Promise<void> {
  await sql`
    insert into push_failure (app_id, identity_id, device_id, provider, message_id, reason)
    select app_id, id, ${device.id}, ${failure.provider}, ${failure.messageId}::uuid, ${failure.reason}
    from identity where app_id = ${appId} and id = ${identityId}`.execute(db);
}

export interface PushFailure {
  id: number;
  at: Date;
  deviceId: string;
  provider: string;
  messageId: string;
  reason: string;
  user: User;
}

/** The newest first; `beforeId`: older ones. */
export async function findPushFailures(
  db: Executor,
  appId: AppId,
  beforeId: number,
  limit: number,
): Promise<PushFailure[]> {
  const { rows } = await sql<{
    id: number;
    at: Date;
    identity_id: number;
    device_id: string;
    provider: string;
    message_id: string;
    reason: string;
    name: string;
    im_id: string | null;
  }>`
    select f.id, f.at, f.identity_id, f.device_id, f.provider, f.message_id, f.reason, i.name, i.im_id
    from push_failure f join identity i on i.app_id = f.app_id and i.id = f.identity_id
    where f.app_id = ${appId} and f.id < ${beforeId} order by f.id desc limit ${limit}`.execute(db);
  return rows.map((row) => ({
    id: row.id,
    at: row.at,
    deviceId: row.device_id,
    provider: row.provider,
    messageId: row.message_id,
    reason: row.reason,
    user: toUser({ id: row.identity_id, name: row.name, im_id: row.im_id }),
  }));
}
