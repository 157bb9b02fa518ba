// What answers over HTTP come to. A reason begins with a short code that never changes; then come words for an admin, which
// hold no token and no key.

import type { OutboundAnswer } from '../outbound.ts';
import type { Outcome } from './contract.ts';

/** Whatever a provider says: who knows what its clock shows. */
const RETRY_AFTER_MAX_MS = 86_400_000;

/** Another try at the time that the answer names, if it does. */
export function postpone({ headers }: OutboundAnswer, now: Date, reason: string, elseMs?: number): Outcome {
  const text = headers['retry-after']?.toString() ?? '';
  const ms = /^\d+$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - now.getTime();
  const afterMs = Number.isNaN(ms) ? elseMs : Math.min(Math.max(ms, 0), RETRY_AFTER_MAX_MS);
  return { kind: 'retry', afterMs, reason };
}

/** Of whatever answer is no success and means nothing special. */
export function outcomeByStatus(answer: OutboundAnswer, now: Date, who = 'the provider'): Outcome {
  const { status } = answer;
  if (status === 429) return postpone(answer, now, `throttled: ${who} takes no more for now`);
  if (status >= 500) return postpone(answer, now, `unavailable: ${who} answers ${status}`);
  if (status === 413) return refuse(`too_large: ${who} takes nothing of this size`);
  return refuse(`refused: ${who} answers ${status}`);
}

export function refuse(reason: string): Outcome {
  return { kind: 'failed', reason, isCredential: false };
}

export function refuseCredential(words: string): Outcome {
  return { kind: 'failed', reason: `credential: ${words}`, isCredential: true };
}

/** Undefined for what isn't a JSON object. */
export function parseObject(body: Buffer | string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString());
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
