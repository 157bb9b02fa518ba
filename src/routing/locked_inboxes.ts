// Inboxes that somebody else has locked for longer than it takes to store messages: a rename of thousands, say. They are
// tried again and again, and known as locked until they are free.

import type { AppId } from '../ids.ts';

export interface Inbox {
  readonly appId: AppId;
  readonly id: number;
}

export interface LockedInboxesOptions {
  /** Which of these are locked right now. */
  probe: (inboxes: readonly Inbox[]) => Promise<ReadonlySet<number>>;
  /** Called after each probe. */
  onProbed: () => void;
}

const PROBE_MS = 100;

export class LockedInboxes {
  readonly #options: LockedInboxesOptions;
  readonly #inboxes = new Map<number, Inbox>();
  #isProbing = false;

  constructor(options: LockedInboxesOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#inboxes.size;
  }

  has(id: number): boolean {
    return this.#inboxes.has(id);
  }

  /** Takes in those of the inboxes that are locked right now. */
  async find(inboxes: readonly Inbox[]): Promise<ReadonlySet<number>> {
    const locked = await this.#options.probe(inboxes);
    for (const { appId, id } of inboxes) if (locked.has(id)) this.#inboxes.set(id, { appId, id });
    this.#probeSoon();
    return locked;
  }

  #probeSoon(): void {
    if (this.#isProbing || this.#inboxes.size === 0) return;
    this.#isProbing = true;
    setTimeout(() => void this.#probe(), PROBE_MS);
  }

  async #probe(): Promise<void> {
    const asked = [...this.#inboxes.values()];
    // Where nobody can be asked, whoever stores there is told so.
    const locked = await this.#options.probe(asked).catch(() => new Set<number>());
    for (const { id } of asked) if (!locked.has(id)) this.#inboxes.delete(id);
    this.#isProbing = false;
    this.#options.onProbed();
    this.#probeSoon();
  }
}
