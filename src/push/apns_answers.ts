// An answer of APNs, read with care, and its outcome: by Apple's reason where it is known, by the status where it isn't.

import {
  badCredential,
  later,
  never,
  reactions,
  type ApnsAnswer,
  type Reaction,
  type Remedy,
} from './apns_reasons.ts';
import type { Outcome } from './contract.ts';

export interface ApnsReply {
  status: number;
  headers: Readonly<Record<string, string | string[] | undefined>>;
  body: string;
}

/** Whatever Apple says: who knows what stands in between. */
const RETRY_AFTER_MAX_SECONDS = 86_400;

export function readAnswer({ status, headers, body }: ApnsReply): ApnsAnswer {
  const { reason, timestamp } = parseBody(body);
  const seconds = /^\d{1,9}$/.exec(String(headers['retry-after']))?.[0];
  const apnsId = headers['apns-id'];
  return {
    status,
    // It comes to be read by people and counted by machines.
    reason: typeof reason === 'string' && /^[A-Za-z]{1,50}$/.test(reason) ? reason : undefined,
    since: typeof timestamp === 'number' ? dateOf(timestamp) : undefined,
    retryAfterMs: seconds ? Math.min(Number(seconds), RETRY_AFTER_MAX_SECONDS) * 1_000 : undefined,
    apnsId: typeof apnsId === 'string' && /^[\da-f-]{36}$/i.test(apnsId) ? apnsId : undefined,
  };
}

/** Undefined: the outcome counts. */
export function remedyOf(answer: ApnsAnswer): Remedy | undefined {
  return reactionOf(answer)?.remedy;
}

export function outcomeOf(answer: ApnsAnswer): Outcome {
  const { status, reason, retryAfterMs } = answer;
  if (status === 200) return { kind: 'sent', providerId: answer.apnsId };
  const reaction = reactionOf(answer);
  if (reaction) return reaction.outcome(answer);
  const shown = `${status}${reason ? ` ${reason}` : ''}`;
  if (status === 429) return later(`throttled: Apple answers ${shown}`)(answer);
  if (status >= 500) return later(`unavailable: Apple answers ${shown}`)(answer);
  if (!reason)
    return { kind: 'retry', reason: `malformed: ${shown}, not as Apple answers`, afterMs: retryAfterMs };
  if (status === 403) return badCredential(`Apple answers ${shown}`)(answer);
  return never(`refused: Apple answers ${shown}`)(answer);
}

function reactionOf({ status, reason }: ApnsAnswer): Reaction | undefined {
  const reaction = reason === undefined ? undefined : reactions[reason];
  return reaction?.status === status ? reaction : undefined;
}

function parseBody(body: string): Record<string, unknown> {
  // As of nearly all; to throw for each would be most of the cost of reading an answer.
  if (body === '') return {};
  try {
    return (JSON.parse(body) ?? {}) as Record<string, unknown>;
  } catch {
    return {};
  }
}

function dateOf(ms: number): Date | undefined {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? undefined : date;
}
