// Rings between processes, through Postgres or NATS. What a ring is about is none of its business: who hears one reads
// Postgres. Keeps one line up, and dials another whenever it is lost.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Database } from '../store/database.ts';
import { startSending, type Note, type Sending } from './bell_line.ts';
import { dialNats } from './bell_nats.ts';
import { dialPostgres } from './bell_postgres.ts';

/** Rings other processes. A ring says that something moved, never what; it may get lost, come twice or late. */
export interface Bell {
  /** Which implementation it is, for logs and metrics. */
  readonly kind: 'postgres' | 'nats';
  /**
   * Sends each note to the process it is for. Those that arrive, of one process at another, arrive in their order,
   * unless one comes twice; equal ones may arrive as one. Never waits, and never throws for what goes on outside: what
   * can't be sent right now, while nothing is heard or too much waits, is dropped.
   * Throws a RangeError, and sends nothing, on what no caller may ask: a note above MAX_NOTE_BYTES or with a U+0000 in
   * it, a processId that isn't a UUID in lower case.
   */
  ring(notes: readonly Note[]): void;
  /**
   * Resolves when what was rung is sent as far as it can be, and the connection is given up; within two seconds,
   * whatever the far end does. Nothing is heard and nothing sent from its call on. Idempotent.
   */
  close(): Promise<void>;
}

export interface BellOptions {
  /** Of this process (a UUID): what others ring. */
  processId: string;
  /** May throw: it is logged. */
  onRing: (note: string) => void;
  /** The bell is heard (again): what was rung before may be lost. May throw: it is logged. */
  onListening?: () => void;
  /** Told why nothing is heard, once for each reason; and, without an error, that rings are heard again. */
  log: (message: string, error: unknown) => void;
}

/** In UTF-8. Postgres takes less than 8000. */
export const MAX_NOTE_BYTES = 7_500;

const CLOSE_TIMEOUT_MS = 1_000;
const PAUSE_MIN_MS = 100;
const PAUSE_MAX_MS = 5_000;
/** A line that held for so long was a good one. */
const STABLE_MS = 10_000;

/** Rings through NATS where there is a URL, else through Postgres. Doesn't wait for either to be there. */
export function createBell(options: BellOptions & { database: Database; natsUrl: string | undefined }): Bell {
  const { processId, onRing, onListening, log, database, natsUrl } = options;
  refuseBadId(processId);
  const dial = natsUrl === undefined ? dialPostgres(database) : dialNats(natsUrl);
  const closing = new AbortController();
  const { signal } = closing;
  let isClosing = false;
  let sending: Sending | undefined;
  let release = (): void => {};
  let trouble: string | undefined;

  function call(act: () => void): void {
    if (isClosing) return;
    try {
      act();
    } catch (error) {
      log('what a ring led to failed', error);
    }
  }

  function tellTrouble(reason: unknown): void {
    if (isClosing || trouble === String(reason)) return;
    trouble = String(reason);
    log('rings of other processes are not heard', reason);
  }

  function tellListening(): void {
    if (trouble !== undefined) log('rings of other processes are heard again', undefined);
    trouble = undefined;
    if (onListening) call(onListening);
  }

  /** Rejects when the line is lost, or was never there; resolves when the bell closes. */
  async function holdLine(): Promise<void> {
    const { promise: held, resolve, reject } = Promise.withResolvers<void>();
    held.catch(() => {}); // it may be lost while nobody waits for it
    let isLost = false;
    const lose = (reason: unknown): void => {
      isLost = true;
      reject(reason);
    };
    // NATS answers after a complaint too.
    const onAnswer = (): void => {
      if (!isLost) tellListening();
    };
    const hear = (note: string): void => call(() => onRing(note));
    const line = await dial({ processId, hear, lost: lose, signal });
    try {
      if (signal.aborted) return;
      release = resolve;
      sending = startSending(line, { onAnswer, onFailure: lose });
      await held;
    } finally {
      sending?.stop();
      sending = undefined;
      await atMost(CLOSE_TIMEOUT_MS, line.hangUp());
    }
  }

  async function keepLine(): Promise<void> {
    for (let failures = 0; !signal.aborted; failures += 1) {
      const startedAt = performance.now();
      await holdLine().catch(tellTrouble);
      if (performance.now() - startedAt > STABLE_MS) failures = 0;
      const pauseMs = Math.min(PAUSE_MIN_MS * 2 ** failures, PAUSE_MAX_MS) * Math.random();
      await sleep(pauseMs, undefined, { signal }).catch(() => {});
    }
  }

  const kept = keepLine();
  let closed: Promise<void> | undefined;

  async function close(): Promise<void> {
    isClosing = true;
    await atMost(CLOSE_TIMEOUT_MS, sending?.settle());
    closing.abort();
    release();
    await atMost(CLOSE_TIMEOUT_MS, kept);
  }

  return {
    kind: natsUrl === undefined ? 'postgres' : 'nats',
    ring(notes) {
      for (const { processId: to, note } of notes) {
        refuseBadId(to);
        refuseBadNote(note);
      }
      if (!isClosing) sending?.add(notes);
    },
    close: () => (closed ??= close()),
  };
}

function refuseBadId(processId: string): void {
  if (!/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/.test(processId))
    throw new RangeError(`the id of a process is a UUID in lower case, not ${processId}`);
}

function refuseBadNote(note: string): void {
  if (Buffer.byteLength(note) > MAX_NOTE_BYTES)
    throw new RangeError(`a note is above ${MAX_NOTE_BYTES} bytes`);
  if (note.includes('\0')) throw new RangeError('a note has a U+0000 in it');
}

/** Whatever becomes of it. */
async function atMost(ms: number, act: Promise<unknown> | undefined): Promise<void> {
  const over = new AbortController();
  await Promise.race([act, sleep(ms, undefined, { signal: over.signal })]).catch(() => {});
  over.abort();
}
