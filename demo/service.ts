// The service that the demo plays against: its own, with its own data directory and the embedded Postgres, gone at the end.

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Stops when it is disposed of, and its data go; rejects when it doesn't stop as it should. */
export interface Service extends AsyncDisposable {
  readonly url: string;
  readonly adminKey: string;
}

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 30_000;

export async function startService(): Promise<Service> {
  const adminKey = `ima_${randomBytes(24).toString('base64url')}`;
  const directory = await mkdtemp(join(tmpdir(), 'imid-demo-'));
  const child = spawn(process.execPath, [MAIN], {
    env: {
      ...process.env,
      // Nothing of a service that is set up here may leak in.
      DATABASE_URL: '',
      NATS_URL: '',
      IMID_PUBLIC_URL: '',
      IMID_SECRET: '',
      HOST: '127.0.0.1',
      PORT: '0',
      IMID_DATA_DIR: directory,
      IMID_ADMIN_KEY: adminKey,
      LOG_LEVEL: 'error',
      // Pushes go to a sender on this machine.
      IMID_ALLOW_PRIVATE_URLS: 'true',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    // A Ctrl-C is for the demo, which then stops the service itself.
    detached: true,
  });
  const ended = once(child, 'exit').then(([code, signal]) => (code ?? signal) as number | string);
  let said = '';
  const listening = new Promise<string>((resolve) => {
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        const [, url] = /listening at (\S+)/.exec(said) ?? [];
        if (url) resolve(url);
      });
  });

  /** Undefined: it doesn't start. */
  const started = Promise.race([
    listening,
    ended.then(() => undefined),
    once(AbortSignal.timeout(START_TIMEOUT_MS), 'abort').then(() => undefined),
  ]);

  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopped ??= finish());
  async function finish(): Promise<void> {
    // Not in the middle of starting: it would leave its Postgres behind.
    await started;
    const killer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    child.kill('SIGTERM');
    const code = await ended;
    clearTimeout(killer);
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    if (code !== 0) throw new Error(`The service ended with ${code}:\n${said.trimEnd()}`);
  }
  const leave = (): void => void stop().finally(() => process.exit(1));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, leave);
  process.once('uncaughtException', (error) => {
    console.error(error);
    leave();
  });

  const url = await started;
  if (url === undefined) {
    await stop().catch(() => undefined);
    throw new Error(`The service doesn't start:\n${said.trimEnd()}`);
  }
  return { url, adminKey, [Symbol.asyncDispose]: stop };
}
