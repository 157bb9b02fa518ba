// Keeps one connection, for as long as the app wants to be connected: when to try, when to try again, when not to.
// Invariant: one attempt at a time. Whatever an earlier one is still waiting for finds that its run is over, and ends.

import { createBackoff } from './backoff.ts';
import { openConnection, type Connection, type End } from './connection.ts';
import type { ClientOptions, State, StateChange, Welcome } from './contract.ts';
import { closeError, ImidError, isFinal } from './errors.ts';
import type { Place } from './inbox.ts';
import { refusalOf, type Rest } from './rest.ts';
import type { Token, Tokens } from './tokens.ts';

/** One that the service sends, of whichever type; later services may send others. */
export type Frame = { type: string } & Record<string, unknown>;

export interface SessionOptions extends Pick<ClientOptions, 'deviceId' | 'backoff'> {
  url: string;
  timeoutMs: number;
  silenceMs: number;
  tokens: Tokens;
  rest: Rest;
  tell: (change: StateChange) => void;
  fail: (error: ImidError) => void;
  /** Before each attempt. */
  prepare: () => Promise<unknown>;
  /** What to resume behind. */
  findPlace: () => Partial<Place>;
  isForeground: () => boolean;
  /** Also a second time on the same connection, where the user was merged into another; then without `after`. */
  onWelcome: (welcome: Welcome, after: number | undefined, sub: string | undefined) => void;
  onFrame: (frame: Frame) => void;
  onEnd: () => void;
}

/** A connection that lived as long was a good one: the next wait is a short one again. */
const STABLE_MS = 10_000;
/** setTimeout takes no more than 2^31 - 1 milliseconds; and a token is none the worse for being renewed. */
const RENEWAL_MAX_MS = 12 * 3_600_000;
/** What another attempt with the same token and page won't change. */
const HOPELESS = new Set(['forbidden', 'scheme_disabled']);

export function createSession(options: SessionOptions) {
  const { url, timeoutMs, silenceMs, tokens, rest, deviceId } = options;
  const backoff = createBackoff(options.backoff);
  let state: State = 'closed';
  let run = 0;
  let connection: Connection | undefined;
  let opening: PromiseWithResolvers<Welcome> | undefined;
  let welcome: Welcome | undefined;
  let openedAt = 0;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let renewal: ReturnType<typeof setTimeout> | undefined;
  let token: Token | undefined;
  /** The token isn't good any more; what to ask for the next one with. */
  let distrust: 'expired' | 'refused' | undefined;

  function change(to: StateChange): void {
    state = to.state;
    options.tell(to);
  }

  async function attempt(): Promise<void> {
    const mine = (run += 1);
    clearTimeout(retry);
    change({ state: 'connecting' });
    try {
      await options.prepare();
      if (mine !== run) return;
      const next = await (distrust ? tokens.renew(distrust, token) : tokens.get());
      if (mine !== run) return;
      if (!next) return stop(new ImidError('no_token', 'Nobody is logged in.'));
      if (deviceId !== undefined && next.device !== undefined && next.device !== deviceId)
        return stop(new ImidError('forbidden', 'The token is bound to another device.'));
      distrust = undefined;
      open(next, mine, next !== token);
    } catch (error) {
      if (mine !== run) return;
      if (error instanceof ImidError) wait(error);
      else
        stop(new ImidError('invalid_request', `No socket can be opened: ${String(error)}`, { cause: error }));
    }
  }

  function open(next: Token, mine: number, isFresh: boolean): void {
    token = next;
    const { seq: after, epoch } = options.findPlace();
    const query = new URLSearchParams({
      state: options.isForeground() ? 'foreground' : 'background',
      ...(deviceId !== undefined && { device: deviceId }),
      ...(after !== undefined && { after: String(after) }),
      ...(epoch !== undefined && { epoch }),
    });
    connection = openConnection({
      url: `${url.replace(/^http/, 'ws')}/v1/connect?${query.toString()}`,
      token: next.text,
      timeoutMs,
      silenceMs,
      onFrame: (frame) => {
        if (mine === run) receive(frame as Frame, after);
      },
      onEnd: (how) => {
        if (mine === run) void ended(how, isFresh);
      },
    });
  }

  function receive(frame: Frame, after: number | undefined): void {
    if (frame.type !== 'welcome') return options.onFrame(frame);
    const isFirst = state !== 'open';
    welcome = frame as unknown as Welcome;
    options.onWelcome(welcome, isFirst ? after : undefined, token?.sub);
    if (!isFirst) return;
    openedAt = performance.now();
    planRenewal(createBackoff(options.backoff));
    const { resolve } = opening ?? {};
    opening = undefined;
    change({ state: 'open', welcome });
    resolve?.(welcome);
  }

  async function ended({ code, reason, wasOpen }: End, isFresh: boolean): Promise<void> {
    const mine = run;
    if (state === 'open' && performance.now() - openedAt > STABLE_MS) backoff.reset();
    leave();
    if (wasOpen) {
      const error = closeError(code, reason);
      distrust = refusalOf(error);
      if (isFinal(code)) return stop(error);
      return wait(error);
    }
    // Browsers are told nothing but that it failed: the service says by HTTP whether it is the token, if there is a network.
    const fault = await rest.findFault(token!);
    if (mine !== run) return;
    distrust = fault && refusalOf(fault);
    if (fault && (HOPELESS.has(fault.code) || (isFresh && distrust === 'refused'))) stop(fault);
    else wait(fault ?? new ImidError('unavailable', 'The connection was refused, though the token is good.'));
  }

  function wait(error: ImidError): void {
    const retryInMs = (error.retryAfterMs ?? 0) + backoff.nextMs(); // nor do those who are all told the same come back together
    retry = setTimeout(() => void attempt(), retryInMs);
    change({ state: 'waiting', error, retryInMs });
  }

  /** There is no connection any more. */
  function leave(): void {
    clearTimeout(renewal);
    connection = undefined;
    options.onEnd();
  }

  function end(to: StateChange, error: ImidError): Promise<void> | undefined {
    run += 1;
    clearTimeout(retry);
    const closing = connection?.close();
    if (connection) leave();
    opening?.reject(error);
    opening = undefined;
    change(to);
    return closing;
  }

  const stop = (error: ImidError): void => void end({ state: 'closed', error }, error);

  /** Before the service closes for it. Where that fails, there is still some time to try again. */
  function planRenewal(retries: ReturnType<typeof createBackoff>, minMs = 0): void {
    const mine = run;
    const waitMs = Math.max(minMs, token!.renewAt - performance.now());
    renewal = setTimeout(
      () => {
        tokens.renew('expiring', token).then(
          (fresh) => {
            if (mine !== run) return;
            if (!fresh) return stop(new ImidError('no_token', 'Nobody is logged in.'));
            token = fresh;
            connection?.send(JSON.stringify({ type: 'token', token: fresh.text }));
            planRenewal(createBackoff(options.backoff));
          },
          (error: ImidError) => {
            if (mine !== run) return;
            options.fail(error);
            planRenewal(retries, retries.nextMs());
          },
        );
      },
      Math.min(waitMs, RENEWAL_MAX_MS),
    );
  }

  return {
    get state(): State {
      return state;
    },

    connect(): Promise<Welcome> {
      if (state === 'open') return Promise.resolve(welcome!);
      if (!opening) {
        opening = Promise.withResolvers<Welcome>();
        opening.promise.catch(() => {}); // whoever doesn't wait for it hears of it by the state
      }
      const { promise } = opening;
      if (state === 'closed') backoff.reset();
      if (state !== 'connecting') void attempt();
      return promise;
    },

    async close(error: ImidError): Promise<void> {
      if (state !== 'closed') await end({ state: 'closed' }, error);
    },

    forget(): void {
      token = undefined;
      distrust = undefined;
    },

    /** Something may have changed: looks whether the connection is alive, or tries again at once. */
    nudge(): void {
      connection?.probe();
      if (state === 'waiting') void attempt();
    },

    /** Begins anew with another connection. */
    renew: (why: string): void => connection?.drop(why),

    send(text: string): void {
      if (state === 'open') connection?.send(text);
    },
  };
}
