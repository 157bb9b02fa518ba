// What the app wants to send, until it is on disk at the service. What isn't answered is sent again, with the same id, on
// the next connection; the service stores it once.

import type { Failed, Outgoing, Sent } from './contract.ts';
import type { Backoff } from './backoff.ts';
import { ImidError, isPassing } from './errors.ts';
import { isId } from './options.ts';
import { readJson, type Shelf } from './shelf.ts';

interface Entry {
  id: string;
  /** In the store; keys are in the order of sending. */
  key: string;
  /** The frame: what was said when it was sent, whatever becomes of the object since. */
  text: string;
  isWritten: boolean;
  answer: PromiseWithResolvers<Sent>;
}

export interface OutboxOptions {
  shelf: Shelf;
  backoff: Backoff;
  sendsPerSecond: number;
  write: (text: string) => void;
  onFailed: (failed: Failed) => void;
}

const KEY = 'out:';
/** Sends that wait for an answer at a time: the service reads no further than 128. */
const WINDOW = 64;
/** Until some more may be said. */
const BREATH_MS = 20;
/** A longer frame would end the connection, again and again. */
const FRAME_MAX_BYTES = 128 * 1024;

export function createOutbox({ shelf, backoff, sendsPerSecond, write, onFailed }: OutboxOptions) {
  const entries = new Map<string, Entry>();
  let isOpen = false;
  let unanswered = 0;
  /** Of the keys, whose order is that of sending, also where the clock is put back. */
  let latest = 0;
  let pause: ReturnType<typeof setTimeout> | undefined;
  /** How many may leave right now; up to those of a second. */
  let allowance = sendsPerSecond;
  let allowedAt = performance.now();

  function isAllowed(): boolean {
    const now = performance.now();
    allowance = Math.min(allowance + ((now - allowedAt) * sendsPerSecond) / 1000, sendsPerSecond);
    allowedAt = now;
    if (allowance < 1) return false;
    allowance -= 1;
    return true;
  }

  function pauseFor(ms: number): void {
    pause ??= setTimeout(() => {
      pause = undefined;
      flush();
    }, ms);
  }

  function flush(): void {
    if (!isOpen || pause !== undefined || unanswered >= WINDOW) return;
    for (const entry of entries.values()) {
      if (unanswered >= WINDOW) return;
      if (entry.isWritten) continue;
      if (!isAllowed()) return pauseFor(BREATH_MS);
      entry.isWritten = true;
      unanswered += 1;
      write(entry.text);
    }
  }

  function keep(id: string, key: string, text: string): Entry {
    const answer = Promise.withResolvers<Sent>();
    answer.promise.catch(() => {}); // of those from before a reload, nobody waits for it
    const entry = { id, key, text, isWritten: false, answer };
    entries.set(id, entry);
    return entry;
  }

  function remove(id: string): Entry | undefined {
    const entry = entries.get(id);
    if (!entry) return undefined;
    entries.delete(id);
    if (entry.isWritten) unanswered -= 1;
    void shelf.delete(entry.key);
    flush();
    return entry;
  }

  function fail(id: string, error: ImidError): boolean {
    const entry = remove(id);
    if (!entry) return false;
    entry.answer.reject(error);
    onFailed({ outgoing: JSON.parse(entry.text) as Outgoing, error });
    return true;
  }

  return {
    get outgoing(): Outgoing[] {
      return [...entries.values()].map(({ text }) => JSON.parse(text) as Outgoing);
    },

    /** What was left there before a reload; it goes first. */
    restore(kept: readonly [string, string][]): void {
      const fresh = new Map(entries);
      entries.clear();
      for (const [key, text] of kept.filter(([each]) => each.startsWith(KEY))) {
        latest = Math.max(latest, parseInt(key.slice(KEY.length), 10) || 0);
        const id = (readJson(text) as Outgoing | undefined)?.id;
        if (id === undefined || !isId(id) || fresh.has(id)) void shelf.delete(key);
        else keep(id, key, text);
      }
      for (const [id, entry] of fresh) entries.set(id, entry);
    },

    add(outgoing: Outgoing): Promise<Sent> {
      const known = entries.get(outgoing.id);
      if (known) return known.answer.promise;
      if (!isId(outgoing.id))
        throw new ImidError('invalid_request', 'id must be a text of 1 to 128 characters.');
      const text = JSON.stringify(outgoing);
      if (text.length * 3 > FRAME_MAX_BYTES && new TextEncoder().encode(text).length > FRAME_MAX_BYTES)
        throw new ImidError('payload_too_large', `A frame may have ${FRAME_MAX_BYTES} bytes.`);
      latest = Math.max(latest + 1, Date.now());
      const key = `${KEY}${String(latest).padStart(15, '0')}:${outgoing.id}`;
      const { answer } = keep(outgoing.id, key, text);
      void shelf.set(key, text);
      flush();
      return answer.promise;
    },

    open(): void {
      isOpen = true;
      flush();
    },

    interrupt(): void {
      isOpen = false;
      unanswered = 0;
      clearTimeout(pause);
      pause = undefined;
      for (const entry of entries.values()) entry.isWritten = false;
    },

    /** It is on disk. */
    settle(sent: Sent): void {
      backoff.reset();
      remove(sent.id)?.answer.resolve(sent);
    },

    /** It was refused: for good, or for now. False where nothing here has that id. */
    refuse(id: string, error: ImidError): boolean {
      const entry = entries.get(id);
      if (!entry) return false;
      if (!isPassing(error)) return fail(id, error);
      if (entry.isWritten) unanswered -= 1;
      entry.isWritten = false;
      pauseFor(backoff.nextMs());
      return true;
    },

    fail,

    failAll(error: ImidError): void {
      for (const id of entries.keys()) fail(id, error);
    },
  };
}
