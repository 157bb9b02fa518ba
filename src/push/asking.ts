// Requests to providers over HTTP: each gets an answer within its time, or an outcome that says to try again.

import { OutboundError, type Outbound, type OutboundAnswer } from '../outbound.ts';
import type { Outcome } from './contract.ts';

const TIMEOUT_MS = 10_000;
const ANSWER_MAX_BYTES = 16 * 1024;

export interface AskingOptions {
  outbound: Outbound;
  /** How long an answer is waited for; shorter in tests. */
  timeoutMs?: number | undefined;
}

export interface Asking {
  post(
    url: string,
    headers: Record<string, string>,
    body: string | Buffer,
  ): Promise<OutboundAnswer | Extract<Outcome, { kind: 'retry' }>>;
  /** Gives up what is under way; nothing is asked from then on. */
  close(): void;
}

export function createAsking({ outbound, timeoutMs = TIMEOUT_MS }: AskingOptions): Asking {
  const closing = new AbortController();
  const { signal } = closing;
  return {
    async post(url, headers, body) {
      try {
        const limits = { timeoutMs, maxBytes: ANSWER_MAX_BYTES, signal };
        return await outbound.fetch(url, { method: 'POST', headers, body, ...limits });
      } catch (error) {
        if (!(error instanceof OutboundError)) throw error;
        return { kind: 'retry', reason: `unreachable: the provider ${error.message}` };
      }
    },
    close: () => closing.abort(),
  };
}
