// What the numbers mean that Android vendors answer with, each by a table of its own. A token that a vendor doesn't know is
// gone only once the vendor has taken a notification of this credential: it says the same to that of another app.

import type { OutboundAnswer } from '../outbound.ts';
import type { Outcome } from './contract.ts';
import { outcomeByStatus, postpone, refuse } from './outcomes.ts';

export type Verdict = 'renew' | 'unknown' | 'throttled' | 'quota' | 'unavailable' | Outcome;

export interface VerdictsOptions {
  name: string;
  now(): Date;
  codes: Readonly<Record<string, Verdict>>;
}

export interface Verdicts {
  /** Why nothing is to be asked at all: vendors take it amiss when an app goes on for the rest of the day. */
  hold(): Outcome | undefined;
  sent(providerId: unknown): Outcome;
  of(code: unknown, answer: OutboundAnswer): Outcome | 'renew';
}

const DAY_MS = 86_400_000;
/** Their days begin at midnight in China. */
const CHINA_MS = 8 * 3_600_000;

export function createVerdicts({ name, now, codes }: VerdictsOptions): Verdicts {
  let isProven = false;
  let usedUpUntil = 0;

  function hold(): Outcome | undefined {
    const afterMs = usedUpUntil - now().getTime();
    if (afterMs <= 0) return undefined;
    return { kind: 'retry', afterMs, reason: `quota: what ${name} takes of this app in a day is used up` };
  }

  return {
    hold,

    sent(providerId) {
      isProven = true;
      return { kind: 'sent', providerId: typeof providerId === 'string' ? providerId : undefined };
    },

    of(code, answer) {
      const number = typeof code === 'number' || typeof code === 'string' ? String(code) : '';
      // Not what the prototype has.
      const verdict = Object.hasOwn(codes, number) ? codes[number]! : undefined;
      switch (verdict) {
        case 'unknown':
          if (isProven) return { kind: 'gone' };
          return refuse(
            `unknown_token: ${name} doesn't know the token: if it knows none, the credential is of another app`,
          );
        case 'throttled':
          return postpone(answer, now(), `throttled: ${name} takes no more for now`);
        case 'quota':
          usedUpUntil = midnightAfter(now());
          return hold()!;
        case 'unavailable':
          return postpone(answer, now(), `unavailable: ${name} is out of order (code ${number})`);
        case undefined:
          if (answer.status === 401) return 'renew';
          if (answer.status === 429 || answer.status >= 500) return outcomeByStatus(answer, now());
          if (/^-?\d{1,10}$/.test(number))
            return refuse(`refused: ${name} takes it for wrong (code ${number})`);
          if (answer.status !== 200) return outcomeByStatus(answer, now());
          return { kind: 'retry', reason: `malformed: ${name} answers something else than what came of it` };
        default:
          return verdict;
      }
    },
  };
}

function midnightAfter(now: Date): number {
  const inChina = now.getTime() + CHINA_MS;
  return inChina - (inChina % DAY_MS) + DAY_MS - CHINA_MS;
}
