// Answers for those who ask again with the same Idempotency-Key. They may hold secrets, such as a key that is shown this
// once, so they are kept sealed.
// Guarantee: of requests with one key, on whichever processes, one is done and the others get its answer. The key is
// held by a lease while that goes on, which a process that ended doesn't renew. What it had done by then, without its
// answer being kept, is done again at a repeat: between the two there is no transaction.

import { hash, randomUUID } from 'node:crypto';
import { ImidError } from '../errors.ts';
import type { AppId } from '../ids.ts';
import type { Database } from '../store/database.ts';
import {
  claimKey,
  deleteClaim,
  deleteExpiredAnswers,
  keepAnswer,
  NO_APP,
  renewClaims,
  type Claim,
} from '../store/kept_answers.ts';
import type { Box } from './box.ts';

export type { Claim } from '../store/kept_answers.ts';

export interface Answer {
  status: number;
  headers: Record<string, string>;
  /** Null: none. */
  body: string | null;
}

export interface KeptAnswersOptions {
  database: Database;
  box: Box;
  /** How long an answer is kept. */
  lifeMs?: number | undefined;
  /** How long a key is held for a process that may have ended. */
  leaseMs?: number | undefined;
  log: (message: string, error: unknown) => void;
}

export type KeptAnswers = ReturnType<typeof createKeptAnswers>;

const DEFAULT_LIFE_HOURS = 24;
const CLEANING_MS = 60_000;
const CLEANED_AT_ONCE = 1_000;

export function createKeptAnswers({
  database: { kysely },
  box,
  lifeMs = DEFAULT_LIFE_HOURS * 3_600_000,
  leaseMs = 60_000,
  log,
}: KeptAnswersOptions) {
  const held = new Set<Claim>();

  async function clean(): Promise<void> {
    while ((await deleteExpiredAnswers(kysely, CLEANED_AT_ONCE)) === CLEANED_AT_ONCE);
  }

  const timers = [
    setInterval(() => {
      if (held.size > 0)
        renewClaims(kysely, [...held], leaseMs).catch((error: unknown) =>
          log('keys of requests could not be held', error),
        );
    }, leaseMs / 3),
    setInterval(
      () => {
        clean().catch((error: unknown) => log('answers that have expired could not be deleted', error));
      },
      Math.min(CLEANING_MS, lifeMs),
    ),
  ];
  for (const timer of timers) timer.unref();

  return {
    /**
     * Claims the key for a request; what came of that is to be told by `keep` or `release`. Gives back the answer if there
     * is one. Throws `conflict` while there is none yet, and `idempotency_mismatch` where it is another request's.
     */
    async claim(appId: AppId | undefined, key: string, fingerprint: Buffer): Promise<Claim | Answer> {
      const keyHash = hash('sha256', key, 'buffer');
      const claim: Claim = { id: randomUUID(), appId: appId ?? NO_APP, keyHash };
      const found = await claimKey(kysely, claim, { fingerprint, leaseMs });
      if (found === 'claimed') {
        held.add(claim);
        return claim;
      }
      if (found !== 'raced' && !found.fingerprint.equals(fingerprint))
        throw refuse('idempotency_mismatch', 'was used for another request');
      if (found === 'raced' || found.sealed === undefined)
        throw refuse('conflict', 'is of a request that is still being done; try again later');
      const opened = await box.open(purposeOf(claim), found.sealed);
      return JSON.parse(opened.toString()) as Answer;
    },

    /** Keeps the answer for who asks again. Where that fails it is logged, and the key is as good as new soon. */
    async keep(claim: Claim, answer: Answer): Promise<void> {
      held.delete(claim);
      try {
        const sealed = await box.seal(purposeOf(claim), Buffer.from(JSON.stringify(answer)));
        await keepAnswer(kysely, claim, { sealed, lifeMs });
      } catch (error) {
        log('an answer could not be kept for who asks again', error);
      }
    },

    /** The request came to nothing that would be its answer another time. */
    async release(claim: Claim): Promise<void> {
      held.delete(claim);
      await deleteClaim(kysely, claim).catch((error: unknown) =>
        log('the key of a request could not be given back', error),
      );
    },

    stop: (): void => timers.forEach(clearInterval),
  };
}

/** What was kept under one key opens under no other. */
function purposeOf({ appId, keyHash }: Claim): string {
  return `answer/${appId}/${keyHash.toString('base64url')}`;
}

function refuse(code: 'conflict' | 'idempotency_mismatch', detail: string): ImidError {
  return new ImidError(code, `This Idempotency-Key ${detail}.`, {
    errors: [{ in: 'header', pointer: '#/idempotency-key', detail }],
  });
}
