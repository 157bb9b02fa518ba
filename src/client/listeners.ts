// Who listens to what. A listener that throws or rejects is told to the listeners of `error`, and harms nobody else.

import type { Events, Listener } from './contract.ts';
import { ImidError } from './errors.ts';

export type Listeners = ReturnType<typeof createListeners>;

export function createListeners() {
  const listeners = new Map<keyof Events, Set<Listener<never>>>();

  function on<Name extends keyof Events>(name: Name, listener: Listener<Name>): () => void {
    const ofName = listeners.get(name) ?? new Set();
    listeners.set(name, ofName.add(listener));
    return () => void ofName.delete(listener);
  }

  function fail(error: ImidError): false {
    const ofErrors = listeners.get('error');
    if (!ofErrors?.size) console.error(error);
    for (const listener of ofErrors ?? [])
      try {
        (listener as Listener<'error'>)(error);
      } catch (thrown) {
        console.error(thrown);
      }
    return false;
  }

  /** Whether all were done with it; a promise of that where one of them takes its time. */
  function hand<Name extends keyof Events>(name: Name, event: Events[Name]): boolean | Promise<boolean> {
    let isDone = true;
    const refuse = (cause: unknown): false => {
      isDone = false;
      return fail(new ImidError('listener_failed', `A listener of "${name}" failed.`, { cause }));
    };
    const pending: PromiseLike<unknown>[] = [];
    for (const listener of listeners.get(name) ?? [])
      try {
        const result = (listener as Listener<Name>)(event);
        if (typeof (result as PromiseLike<unknown> | undefined)?.then === 'function')
          pending.push((result as PromiseLike<unknown>).then(undefined, refuse));
      } catch (thrown) {
        refuse(thrown);
      }
    return pending.length > 0 ? Promise.all(pending).then(() => isDone) : isDone;
  }

  return { on, hand, fail };
}
