// The operator's commands, run as an operator runs them: each a process of its own, in a directory of its own.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after } from 'node:test';
import type { Service, Tenant } from './harness.ts';
import { keepOutput } from './logs.ts';
import { INHERITED } from './process.ts';

const MAIN = new URL('../src/cli/main.ts', import.meta.url).pathname;

export interface Run {
  code: number;
  stdout: string;
  stderr: string;
}

export function createCommands() {
  const directory = mkdtempSync(join(tmpdir(), 'imid-cli-'));
  after(() => rm(directory, { recursive: true, force: true }));

  return {
    directory,

    async run(
      args: string[],
      { env = {}, stdin = '' }: { env?: Record<string, string>; stdin?: string | Buffer } = {},
    ): Promise<Run> {
      const child = spawn(process.execPath, [MAIN, ...args], {
        cwd: directory,
        env: { ...INHERITED, ...env },
      });
      keepOutput(child.stdout, child.stderr);
      child.stdin.on('error', () => {}).end(stdin);
      const [stdout, stderr, [code]] = await Promise.all([
        text(child.stdout),
        text(child.stderr),
        once(child, 'close'),
      ]);
      return { code, stdout, stderr };
    },

    async inDirectory(name: string, content: string | Buffer): Promise<string> {
      await writeFile(join(directory, name), content);
      return name;
    },
  };
}

/** The options of a command about an app of the service. */
export const aboutApp = (service: Service, app: Tenant): string[] => [
  '--url',
  service.url,
  '--key',
  app.apiKey,
  '--app',
  app.appId,
];
