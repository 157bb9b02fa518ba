// Frames take their turns: a later one starts when the one before has found out whom it means, and need not wait for the
// disk. Where nothing has to be waited for, it starts at once.

import type { Peer } from './peer.ts';

/** Beyond this nothing more is read from the client until half of it is dealt with. */
const MAX_PENDING_FRAMES = 128;

export class Turns {
  readonly #peer: Pick<Peer, 'pause' | 'resume'>;
  /** Frames that were taken and not dealt with yet. */
  #pending = 0;
  #isPaused = false;
  /** Frames that have not found out yet whom they mean, or wait for those. */
  #waiting = 0;
  /** Frames whose acts are not over yet. */
  #acting = 0;
  /** The next frame waits until no act is under way. */
  #mustSettle = false;
  #onSettled: (() => void) | undefined;
  #last: Promise<void> = Promise.resolve();

  constructor(peer: Pick<Peer, 'pause' | 'resume'>) {
    this.#peer = peer;
  }

  /** Prepares, and then acts: a frame is dealt with when that has resolved. `fail` is told of what either throws. */
  take<T>(
    prepare: () => T | Promise<T>,
    act: (prepared: T) => Promise<void>,
    fail: (error: unknown) => void,
  ): void {
    this.#pending += 1;
    if (this.#pending >= MAX_PENDING_FRAMES && !this.#isPaused) {
      this.#isPaused = true;
      this.#peer.pause();
    }
    const refuse = (error: unknown): void => {
      fail(error);
      this.#finish();
    };
    const start = (prepared: T): void => {
      this.#acting += 1;
      void act(prepared)
        .then(this.#finish, refuse)
        .finally(() => {
          this.#acting -= 1;
          if (this.#acting === 0) this.#onSettled?.();
        });
    };
    const begin = async (preparing?: Promise<T>): Promise<void> => {
      try {
        if (!preparing && this.#mustSettle) await this.#settle();
        let prepared = await (preparing ?? prepare());
        // It may have been found out before it means something else.
        while (this.#mustSettle) {
          await this.#settle();
          prepared = await prepare();
        }
        start(prepared);
      } catch (error) {
        refuse(error);
      }
    };
    if (this.#waiting > 0 || this.#mustSettle) {
      this.#wait(() => begin());
      return;
    }
    try {
      const prepared = prepare();
      if (prepared instanceof Promise) this.#wait(() => begin(prepared));
      else start(prepared);
    } catch (error) {
      refuse(error);
    }
  }

  /** Makes the frames that come now wait until those before are dealt with: they mean something else from now on. */
  settleFirst(): void {
    this.#mustSettle = true;
  }

  #wait(turn: () => Promise<void>): void {
    this.#waiting += 1;
    this.#last = this.#last.then(turn).finally(() => (this.#waiting -= 1));
  }

  async #settle(): Promise<void> {
    if (this.#acting > 0) await new Promise<void>((resolve) => (this.#onSettled = resolve));
    this.#onSettled = undefined;
    this.#mustSettle = false;
  }

  readonly #finish = (): void => {
    this.#pending -= 1;
    if (this.#isPaused && this.#pending <= MAX_PENDING_FRAMES / 2) {
      this.#isPaused = false;
      this.#peer.resume();
    }
  };
}
