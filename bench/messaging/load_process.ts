// Starts the process of the clients, and tells it what to do.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Answer, Tasks } from './load.ts';

const LOAD = fileURLToPath(new URL('load.ts', import.meta.url));

export interface LoadProcess extends AsyncDisposable {
  /** One at a time. Throws what went wrong over there. */
  ask<T extends keyof Tasks>(task: T, input: Parameters<Tasks[T]>[0]): Promise<Awaited<ReturnType<Tasks[T]>>>;
}

export function startLoadProcess(): LoadProcess {
  const child = fork(LOAD);
  const ended = once(child, 'exit');
  return {
    async ask(task, input) {
      const answered = once(child, 'message');
      child.send({ task, input });
      const [answer] = (await Promise.race([
        answered,
        ended.then(() => [{ error: 'The clients are gone' }]),
      ])) as [Answer];
      if ('error' in answer) throw new Error(answer.error);
      return answer.result as never;
    },
    async [Symbol.asyncDispose]() {
      if (child.connected) child.disconnect();
      await ended;
    },
  };
}
