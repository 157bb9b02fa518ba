// A load that goes on while services and their database fail: talkers, some of them several devices of one user, and a
// backend. In the end it waits until everything is answered and shown, and hands out the evidence.

import { setTimeout as sleep } from 'node:timers/promises';
import { Caller } from './caller.ts';
import type { Evidence } from './evidence.ts';
import { ADMIN_KEY, call, type Json } from './harness.ts';
import { createRandom } from './random.ts';
import { Talker } from './talker.ts';

export interface LoadOptions {
  /** Where services run that share a database, at any time; not all of them need to answer. */
  urls: () => readonly string[];
  seed: number;
  /** How long each client waits between two messages. */
  paceMs?: number;
  /** How many of its messages may be without an answer. */
  window?: number;
}

export type Load = Awaited<ReturnType<typeof startLoad>>;

/** By user, the devices. */
const DEVICES = [['a', 'b'], ['a', 'b'], ['a'], ['a'], ['a']];
const BIG_SHARE = 0.02;
const BIG_LENGTH = 8_000;
const SMALL_LENGTH = 100;
/** How long recovery may take. */
const RECOVERY_MS = 30_000;
const LOOK_MS = 20;

export async function startLoad({ urls, seed, paceMs = 5, window = 8 }: LoadOptions) {
  const uids = DEVICES.map((_, i) => `u${i}`);
  const random = createRandom(seed);
  const anyUrl = (by = random): string => pick(urls(), by);
  /** Until it works. */
  const ask = (method: string, path: string, body?: unknown): Promise<Json> =>
    patiently(`${method} ${path}`, async () => {
      const answer = await call(anyUrl(), method, path, { body }).catch(() => undefined);
      return answer !== undefined && answer.status < 300 && answer.body;
    });
  const { appId } = await ask('POST', '/v1/apps', { name: 'load', schemes: ['composed'] });
  const path = `/v1/apps/${appId}`;

  const talkers: Talker[] = [];
  for (const [i, uid] of uids.entries()) {
    const { token } = await ask('POST', `${path}/tokens`, { uid });
    for (const device of DEVICES[i]!) {
      const own = createRandom(seed + talkers.length + 1);
      const [url, compose] = [() => anyUrl(own), () => composeMessage(uids, own)];
      talkers.push(new Talker({ uid, device, token, url, compose, random: own, window, paceMs }));
    }
  }
  const caller = new Caller({
    url: () => `${anyUrl()}${path}/messages`,
    key: ADMIN_KEY,
    compose: () => ({ from: pick(uids, random), ...composeMessage(uids, random) }),
    paceMs,
  });

  /** Waits until it holds for each of these. */
  const allOf = (
    what: string,
    those: readonly Talker[],
    holds: (talker: Talker) => boolean,
  ): Promise<boolean> =>
    patiently(
      what,
      () => those.every(holds),
      () => those.filter((talker) => !holds(talker)).map(describe),
    );

  async function readInbox(uid: string): Promise<Json[]> {
    const inbox: Json[] = [];
    for (;;) {
      const after = inbox.at(-1)?.seq ?? 0;
      const page = await ask('GET', `${path}/messages?imId=${appId}:${uid}&limit=1000&after=${after}`);
      inbox.push(...page.items);
      if (page.items.length < 1000) return inbox;
    }
  }

  async function readInboxes(): Promise<Map<string, Json[]>> {
    const inboxes = new Map<string, Json[]>();
    for (const uid of uids) inboxes.set(uid, await readInbox(uid));
    return inboxes;
  }

  const readEvidence = async (): Promise<Evidence> => ({
    witnesses: talkers,
    backends: [caller],
    inboxes: await readInboxes(),
  });

  /** Ends it wherever it is. */
  function close(): void {
    for (const each of [caller, ...talkers]) each.close();
  }

  return {
    talkers,
    readEvidence,
    close,

    /** Waits until each of these is answered `count` messages that it makes from now on; the backend one, too. */
    async flows(count = 1, those: readonly Talker[] = talkers): Promise<void> {
      const made = new Map(those.map((talker) => [talker, talker.made]));
      const stored = caller.stored + 1; // one may be under way
      const isFlowing = (talker: Talker): boolean =>
        talker.made - talker.unanswered.length >= made.get(talker)! + count;
      await allOf('traffic', those, isFlowing);
      await patiently('a call', () => caller.stored > stored);
    },

    /** Waits until each of these is told that something can't be stored. */
    async fail(those: readonly Talker[] = talkers): Promise<void> {
      const errors = new Map(those.map((talker) => [talker, talker.errors]));
      await allOf('errors', those, (talker) => talker.errors > errors.get(talker)!);
    },

    /** Ends when everything is answered and shown. Throws where that never comes. */
    async finish(): Promise<Evidence> {
      for (const each of [caller, ...talkers]) each.hush();
      await patiently('the last call', () => caller.isDone);
      await allOf('every answer', talkers, ({ unanswered }) => unanswered.length === 0);
      const inboxes = await readInboxes();
      await allOf('everything to be shown', talkers, ({ uid, cursor }) => cursor >= inboxes.get(uid)!.length);
      close();
      return readEvidence();
    },
  };
}

function composeMessage(uids: readonly string[], random: () => number): { to: string; content: object } {
  const length = random() < BIG_SHARE ? BIG_LENGTH : Math.floor(random() * SMALL_LENGTH);
  return { to: pick(uids, random), content: { text: 'x'.repeat(length) } };
}

function pick<T>(all: readonly T[], random: () => number): T {
  return all[Math.floor(random() * all.length)]!;
}

function describe({ uid, device, cursor, unanswered, connections }: Talker): string {
  const { frames, ...last } = connections.at(-1)!;
  const standing = { cursor, unanswered, connections: connections.length, ...last, last: frames.slice(-3) };
  return `${uid}/${device} ${JSON.stringify(standing)}`;
}

async function patiently<T>(
  what: string,
  look: () => Promise<T | false> | T | false,
  describeStanding: () => string[] = () => [],
): Promise<T> {
  const end = performance.now() + RECOVERY_MS;
  for (;;) {
    const found = await look();
    if (found !== false) return found;
    if (performance.now() > end)
      throw new Error(`waited in vain for ${what}: ${describeStanding().join('; ')}`);
    await sleep(LOOK_MS);
  }
}
