// An honest backend: sends one message after the other over REST, each with the same id until it is stored. Keeps every
// answer, and judges nothing.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend } from './evidence.ts';
import type { Json } from './harness.ts';

export interface CallerOptions {
  /** Of `/v1/apps/{appId}/messages`; asked at each call. */
  url: () => string;
  key: string;
  /** What the next message is. */
  compose: () => { from: string; to: string; content: object };
  paceMs: number;
}

const CALL_MS = 10_000;
const PAUSE_MS = 100;

export class Caller implements Backend {
  readonly name = 'backend';
  readonly calls: Backend['calls'][number][] = [];
  stored = 0;
  readonly #options: CallerOptions;
  readonly #hushed = new AbortController();
  readonly #over = new AbortController();
  isDone = false;

  constructor(options: CallerOptions) {
    this.#options = options;
    void this.#callOn();
  }

  /** Makes nothing new any more; it is done when the last one is stored. */
  hush(): void {
    this.#hushed.abort();
  }

  close(): void {
    this.#hushed.abort();
    this.#over.abort();
  }

  async #callOn(): Promise<void> {
    for (let n = 0; !this.#hushed.signal.aborted; n++) {
      const { from, to, content } = this.#options.compose();
      const id = `${this.name}/${n}`;
      const request = { from: { uid: from }, to: { uid: to }, id, content: { id, ...content } };
      while (!this.#over.signal.aborted && !(await this.#call(request))) await sleep(PAUSE_MS);
      await sleep(this.#options.paceMs);
    }
    this.isDone = true;
  }

  async #call(request: Json): Promise<boolean> {
    const { url, key } = this.#options;
    try {
      const response = await fetch(url(), {
        method: 'POST',
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
        body: JSON.stringify(request),
        signal: AbortSignal.timeout(CALL_MS),
      });
      const body: Json = await response.json();
      this.calls.push({ request, status: response.status, body });
      if (response.status === 201) this.stored += 1;
      return response.status === 201;
    } catch {
      this.calls.push({ request });
      return false;
    }
  }
}
