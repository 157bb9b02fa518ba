// Pushes what one device has not been shown, conversation by conversation, and takes away what it needn't show any more.

import type { App } from '../identity/apps.ts';
import { unbindGone } from '../store/bindings.ts';
import type { Database } from '../store/database.ts';
import type { NewPushFailure, PushResult } from '../store/push_results.ts';
import type { Pushable } from '../store/pushables.ts';
import type { PushDevice, PushStanding } from '../store/push_standings.ts';
import type { PushAccount, PushAccounts } from './push_accounts.ts';
import type { Meters } from './meters.ts';
import type { Circuits } from './push_circuits.ts';
import { decide, type PushTiming } from './push_decision.ts';
import { codeOf, takesSilent, type Notification, type Outcome } from './push_providers.ts';
import { compose, composeClearing, TTL_MAX_SECONDS, wordsOf } from './push_text.ts';
import { endOfQuietHours } from './quiet_hours.ts';

const MAX_ATTEMPTS = 10;
const FIRST_RETRY_MS = 2_000;
const MAX_RETRY_MS = 3_600_000;
/** Of so many conversations it is known what a device may be showing, and for so long. */
const SHOWN_MAX = 100;
const SHOWN_MAX_MS = TTL_MAX_SECONDS * 1_000;
/** Another worker may have to take over. */
const TTL_MIN_MS = 30_000;
/** The provider hasn't noticed yet, or the device has been bound to another user meanwhile. */
const BOUND_AGAIN = 'gone: the provider means a time before the push token was bound';

export interface DevicePushingOptions {
  database: Database;
  accounts: PushAccounts;
  circuits: Circuits;
  meters: Pick<Meters, 'pushed'>;
  timing: PushTiming;
  log: (message: string, error: unknown) => void;
}

/** What is to be written down of a device, and when it is to be looked at again. */
interface Handled {
  /** Undefined: nothing, or it has no push token any more. */
  result: PushResult | undefined;
  failures: readonly NewPushFailure[];
  /** By the epoch; Infinity: when more has come. */
  againMs: number;
}

/** Nothing can be sent now. */
interface Held {
  kind: 'held';
  forMs: number;
}

/** What a device is to be pushed for a conversation. */
interface Push {
  peerId: number;
  messages: readonly Pushable[];
  first: Pushable;
  last: Pushable;
}

export function createDevicePushing(options: DevicePushingOptions) {
  const { accounts, circuits, meters, timing, log } = options;
  const { kysely, clock } = options.database;

  async function send(app: App, device: PushDevice, notification: Notification): Promise<Outcome | Held> {
    const { provider: name } = device;
    let outcome: Outcome | Held;
    try {
      const account = accounts.peek(app.id, name) ?? (await accounts.find(app.id, name));
      outcome = account
        ? await sendBy(account, app, device, notification)
        : { kind: 'failed', reason: 'credential: the app has none for this provider', isCredential: true };
    } catch (error) {
      // What the other devices of the user got has to be written down, or they get it again.
      log('a push could not be made', error);
      outcome = { kind: 'retry', reason: 'internal: the push could not be made; the log of imid says why' };
    }
    if (outcome.kind !== 'held')
      meters.pushed(name, outcome.kind, 'reason' in outcome ? codeOf(outcome.reason) : '');
    return outcome;
  }

  /** What was out of order by other credentials needn't be by these. */
  async function sendBy(
    { provider, changedAt }: PushAccount,
    app: App,
    { provider: name, token, environment }: PushDevice,
    notification: Notification,
  ): Promise<Outcome | Held> {
    const circuit = circuits.find(name, `${changedAt.getTime()} ${accountOf(app, name, token)}`);
    const forMs = await circuit.enter();
    if (forMs > 0) return { kind: 'held', forMs };
    let isAmiss = true;
    try {
      const outcome = await provider.send(notification, { token, environment });
      isAmiss = isOutOfOrder(outcome);
      return outcome;
    } finally {
      circuit.leave(isAmiss);
    }
  }

  /** False: it is bound anew, to this user or another one. */
  async function unbind(app: App, { provider, token }: PushDevice, since: Date): Promise<boolean> {
    return (await unbindGone(kysely, { appId: app.id, provider, tokens: [token] }, since)) > 0;
  }

  return async (app: App, standing: PushStanding, device: PushDevice): Promise<Handled> => {
    const now = clock.now();
    const floor = Math.max(device.ackedSeq, device.pushedSeq);
    // It waits to be tried again, and what it waits for isn't known here.
    const isWaiting = floor < standing.fromSeq;
    const triedAt = (device.retryAt ?? now).getTime();
    if (isWaiting && !device.shown.some(({ isOver }) => isOver))
      return { result: undefined, failures: [], againMs: triedAt };
    const quietUntil = findQuietEnd(standing, now);
    const conversations = isWaiting
      ? new Map<number, Pushable[]>()
      : findConversations(standing, device, now);
    const over = device.shown.filter(({ isOver, peerId }) => isOver && !conversations.has(peerId));
    const shown = new Map(
      device.shown
        .filter((each) => !over.includes(each) && each.atMs > now.getTime() - SHOWN_MAX_MS)
        .map((each) => [each.peerId, each]),
    );
    const failures: NewPushFailure[] = [];
    let settledSeq = isWaiting ? device.pushedSeq : standing.untilSeq;
    let { attempts, retryAt } = device;
    let againMs = isWaiting ? triedAt : Infinity;
    let isGone = false;

    /** What is behind this is looked at again. */
    function leave({ seq }: Pushable, untilMs: number): void {
      settledSeq = Math.min(settledSeq, seq - 1);
      againMs = Math.min(againMs, untilMs);
    }

    function postpone({ first }: Push, waitMs: number): void {
      leave(first, now.getTime() + waitMs);
      retryAt = new Date(Math.max(retryAt?.getTime() ?? 0, now.getTime() + waitMs));
    }

    function retry(push: Push, reason: string, afterMs = 0): void {
      if (device.attempts + 1 >= MAX_ATTEMPTS) return end(push, `given up: ${reason}`);
      attempts = device.attempts + 1;
      postpone(push, Math.max(afterMs, backoffOf(device.attempts)));
    }

    /** It has ended, one way or the other; what comes next is tried as often again. */
    function end({ peerId, last }: Push, failure?: string): void {
      if (attempts === device.attempts) attempts = 0;
      // Also of one that was given up, which isn't to be tried again while another conversation is.
      shown.set(peerId, { peerId, seq: last.seq, atMs: clock.now().getTime(), isOver: false });
      if (failure !== undefined)
        failures.push({
          deviceId: device.id,
          provider: device.provider,
          messageId: last.messageId,
          reason: failure,
        });
    }

    const pushes: Push[] = [];
    for (const [peerId, messages] of conversations) {
      const push = { peerId, messages, first: messages[0]!, last: messages.at(-1)! };
      const decision = decide(
        {
          isForeground: device.isForeground,
          hasForeground: standing.hasForeground,
          maxAcked: standing.maxAcked,
          pushWhen: app.pushWhen,
          notBefore: device.retryAt,
          quietUntil,
          shownAt: shown.get(peerId)?.atMs,
          first: push.first,
          last: push.last,
        },
        timing,
        now,
      );
      if (decision.do === 'wait') leave(push.first, decision.until.getTime());
      if (decision.do === 'push') pushes.push(push);
    }
    // Whoever looks at it takes it away by itself. It is tried once: the next push says what is unread as well.
    const clearing = device.isForeground || !takesSilent(device.provider) ? [] : over;
    const outcomes = await Promise.all([
      ...pushes.map(({ messages }) => send(app, device, compose(app, standing, device, messages, now))),
      ...clearing.map((place) => send(app, device, composeClearing(standing, place))),
    ]);
    for (const [i, push] of pushes.entries()) {
      const outcome = outcomes[i]!;
      if (outcome.kind === 'sent') end(push);
      else if (outcome.kind === 'held') postpone(push, outcome.forMs);
      else if (outcome.kind === 'failed') end(push, outcome.reason);
      else if (outcome.kind === 'retry') retry(push, outcome.reason, outcome.afterMs);
      else {
        isGone ||= await unbind(app, device, outcome.since ?? now);
        if (!isGone) retry(push, BOUND_AGAIN);
      }
    }
    if (isGone) return { result: undefined, failures, againMs: Infinity };
    if (standing.hasMore && settledSeq === standing.untilSeq && floor < settledSeq) againMs = now.getTime();
    const places = [...shown.values()];
    return {
      result: {
        appId: app.id,
        identityId: standing.id,
        deviceId: device.id,
        token: device.token,
        settledSeq,
        attempts,
        retryAt,
        shown:
          places.length > SHOWN_MAX ? places.toSorted((a, b) => b.atMs - a.atMs).slice(0, SHOWN_MAX) : places,
      },
      failures,
      againMs,
    };
  };
}

/** Spread, so that what failed at one time isn't tried at one time. */
function backoffOf(attempts: number): number {
  return Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** attempts) * (0.5 + Math.random() / 2);
}

/** What a device wasn't told of, by the peer's row; 0: of those who are gone. */
function findConversations(
  standing: PushStanding,
  { ackedSeq, pushedSeq, shown }: PushDevice,
  now: Date,
): Map<number, Pushable[]> {
  const shownSeqs = new Map(shown.map(({ peerId, seq }) => [peerId, seq]));
  const fresh = standing.messages.filter(
    (message) =>
      message.seq > Math.max(ackedSeq, pushedSeq, shownSeqs.get(peerOf(message)) ?? 0) &&
      isWanted(message) &&
      !isTooLate(message, now),
  );
  return Map.groupBy(fresh, peerOf);
}

/** Whether a provider would not keep it any more, such as of a call that nobody took in time. */
function isTooLate(message: Pushable, now: Date): boolean {
  const { ttlSeconds } = wordsOf(message) || {};
  if (ttlSeconds === undefined) return false;
  return now.getTime() - message.at.getTime() > Math.max(ttlSeconds * 1_000, TTL_MIN_MS);
}

function peerOf({ sender }: Pushable): number {
  return sender?.id ?? 0;
}

/** Whether its recipient wants to be told of a message at all, also when its sender is muted no more, and its sender wants it to be. */
export function isWanted(message: Pushable): boolean {
  return (message.mutedUntil ?? 0) <= message.at.getTime() && wordsOf(message) !== false;
}

export function findQuietEnd({ quietHours, pausedUntil }: PushStanding, now: Date): Date | undefined {
  const end = quietHours && endOfQuietHours(quietHours, now);
  return end && pausedUntil ? new Date(Math.max(end.getTime(), pausedUntil.getTime())) : (end ?? pausedUntil);
}

/** What is in order, or isn't, as a whole: an app's account at a provider; of browsers each maker's service. */
function accountOf(app: App, provider: string, token: string): string {
  return provider === 'webpush' ? `${app.id} ${originOf(token)}` : String(app.id);
}

function originOf(subscription: string): string {
  try {
    const { endpoint } = JSON.parse(subscription) as { endpoint?: string };
    return new URL(endpoint ?? '').origin;
  } catch {
    return ''; // the provider says what is wrong with it
  }
}

/** Whether it says that the next one will go no better; being throttled concerns a device alone, mostly. */
function isOutOfOrder(outcome: Outcome): boolean {
  if (outcome.kind === 'failed') return outcome.isCredential;
  return outcome.kind === 'retry' && codeOf(outcome.reason) !== 'throttled';
}
