// Work in a process of its own, so that what it costs is nobody else's: one task after another, as it is told over IPC.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { cpuSecondsOf } from './processes.ts';

type Tasks = Record<string, (input: never) => unknown>;
type Answer = { result: unknown } | { error: string };

export interface TaskProcess<T extends Tasks> extends AsyncDisposable {
  /** CPU seconds of the process until now. */
  cpuSeconds(): number | undefined;
  /** One at a time. Throws what went wrong over there. */
  ask<K extends keyof T & string>(task: K, input: Parameters<T[K]>[0]): Promise<Awaited<ReturnType<T[K]>>>;
}

/** Starts a file that calls `perform`. */
export function startTasks<T extends Tasks>(file: string, nodeArgs: string[] = []): TaskProcess<T> {
  const child = fork(file, { execArgv: nodeArgs });
  const ended = once(child, 'exit');
  return {
    cpuSeconds: () => cpuSecondsOf([child.pid!]),
    async ask(task, input) {
      const answered = once(child, 'message');
      child.send({ task, input });
      const [answer] = (await Promise.race([
        answered,
        ended.then(() => [{ error: 'The process is gone' }]),
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

/** Does tasks as it is told, and ends with who started the process. */
export function perform(tasks: Tasks): void {
  async function answer({ task, input }: { task: string; input: never }): Promise<Answer> {
    try {
      return { result: await tasks[task]!(input) };
    } catch (error) {
      return { error: error instanceof Error ? error.message : String(error) };
    }
  }
  process.on('message', (order) => void answer(order as never).then((done) => process.send!(done)));
  process.on('disconnect', () => process.exit(0));
}
