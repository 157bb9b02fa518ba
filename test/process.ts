// The service as a process of its own, with an environment and a data directory of the test's.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { keepOutput } from './logs.ts';

const MAIN = new URL('../src/main.ts', import.meta.url).pathname;
const BANNER_MS = 60_000;
/** What a process needs to start, and to start fast, of the environment of the run. */
export const INHERITED = {
  PATH: process.env['PATH']!,
  NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE']!,
};

export class Process {
  readonly child: ChildProcess;
  output = '';

  constructor(env: Record<string, string>) {
    this.child = spawn(process.execPath, [MAIN], {
      env: { ...INHERITED, LOG_LEVEL: 'error', PORT: '0', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    keepOutput(this.child.stdout, this.child.stderr);
    running.add(this);
    this.child.once('exit', () => running.delete(this));
    for (const stream of [this.child.stdout!, this.child.stderr!])
      stream.on('data', (data: Buffer) => (this.output += data.toString()));
  }

  /** Waits for the banner and gives back the URL in it. */
  async url(): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const look = (): void => {
      const [, port] = /docs +http:\/\/localhost:(\d+)\/docs/.exec(this.output) ?? [];
      if (port !== undefined) resolve(`http://127.0.0.1:${port}`);
    };
    this.child.stdout!.on('data', look);
    this.child.once('exit', () => reject(new Error(`it ended: ${this.output}`)));
    setTimeout(() => reject(new Error(`no banner: ${this.output}`)), BANNER_MS).unref();
    look();
    return promise;
  }

  /** Waits until it ends by itself; null when it doesn't. */
  async ended(): Promise<number | null> {
    const timer = setTimeout(() => this.child.kill('SIGKILL'), BANNER_MS);
    if (this.child.exitCode === null) await once(this.child, 'close');
    clearTimeout(timer);
    return this.child.exitCode;
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return this.child.exitCode;
    this.child.kill(signal);
    const [code] = await once(this.child, 'exit');
    return code as number | null;
  }
}

const running = new Set<Process>();
const directories: string[] = [];
after(async () => {
  for (const each of running) await each.end('SIGTERM');
  for (const directory of directories) await rm(directory, { recursive: true, force: true });
});

export async function makeDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'imid-start-'));
  directories.push(directory);
  return join(directory, 'data');
}
