// Requests to providers over HTTP: each gets an answer within its time, or an outcome that says to try again.

import { OutboundError, type Outbound, type OutboundAnswer, type OutboundRequest } from '../outbound.ts';
import type { Outcome } from './contract.ts';

const TIMEOUT_MS = 10_000;
const ANSWER_MAX_BYTES = 16 * 1024;
const LIST_MAX_BYTES = 1024 * 1024;

type Asked = OutboundAnswer | Extract<Outcome, { kind: 'retry' }>;

export interface AskingOptions {
  outbound: Outbound;
  /** How long an answer is waited for; shorter in tests. */
  timeoutMs?: number | undefined;
  /** What is asked, in words. */
  who?: string | undefined;
  /** However long an answer to a `post` is: only its status counts. */
  cutsBody?: boolean | undefined;
}

export interface Asking {
  post(url: string, headers: Record<string, string>, body: string | Buffer): Promise<Asked>;
  /** Of an answer that lists many. */
  get(url: string, headers: Record<string, string>): Promise<Asked>;
  /** Gives up what is under way; nothing is asked from then on. */
  close(): void;
}

export function createAsking({
  outbound,
  timeoutMs = TIMEOUT_MS,
  who = 'the provider',
  cutsBody,
}: AskingOptions): Asking {
  const closing = new AbortController();
  const { signal } = closing;

  async function ask(url: string, request: Omit<OutboundRequest, 'timeoutMs' | 'signal'>): Promise<Asked> {
    try {
      return await outbound.fetch(url, { ...request, timeoutMs, signal });
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error;
      return {
        kind: 'retry',
        reason: `unreachable: ${who} ${error.message}${error.systemCode ? ` (${error.systemCode})` : ''}`,
      };
    }
  }

  return {
    post: (url, headers, body) =>
      ask(url, { method: 'POST', headers, body, maxBytes: ANSWER_MAX_BYTES, cutsBody }),
    get: (url, headers) => ask(url, { headers, maxBytes: LIST_MAX_BYTES }),
    close: () => closing.abort(),
  };
}
