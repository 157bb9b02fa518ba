// A NATS server for tests: the real one where it is installed, and a stand-in that does what the tests need of it.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { delimiter, join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { eventually } from './harness.ts';

/** What to run: a program and what comes before its options. */
export type Program = readonly [string, ...string[]];

export const STAND_IN: Program = [
  process.execPath,
  fileURLToPath(new URL('nats_stand_in.ts', import.meta.url)),
];

/** Undefined: it isn't installed. */
export function findNatsServer(): Program | undefined {
  const path = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']
    .map((folder) => join(folder, 'nats-server'))
    .find((candidate) => existsSync(candidate));
  return path === undefined ? undefined : [path];
}

const running = new Set<ChildProcess>();
after(() => {
  for (const child of running) child.kill('SIGKILL');
});

/** Starts and ends at one port. */
export class Nats {
  readonly port: number;
  readonly #program: Program;
  readonly #options: readonly string[];
  #child: ChildProcess | undefined;

  constructor(program: Program, port: number, options: readonly string[] = []) {
    this.#program = program;
    this.port = port;
    this.#options = options;
  }

  get url(): string {
    return `nats://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const [path, ...first] = this.#program;
    const child = spawn(path, [...first, '-a', '127.0.0.1', '-p', String(this.port), ...this.#options], {
      stdio: 'ignore',
    });
    running.add(child);
    child.once('exit', () => running.delete(child));
    this.#child = child;
    await eventually(() => isListening(this.port), 'NATS');
  }

  async kill(): Promise<void> {
    const child = this.#child!;
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  freeze(): void {
    this.#child!.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child!.kill('SIGCONT');
  }
}

export async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  const isOpen = await new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
  });
  socket.destroy();
  return isOpen;
}
