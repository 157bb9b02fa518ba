// The examples of the README and of the guides, read out of the page and run as they are written there, in order.

import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ADMIN_KEY, type Json, type Service } from './harness.ts';

const run = promisify(execFile);

interface Block {
  language: string;
  text: string;
}

interface Shell {
  env: Record<string, string>;
  cwd: string;
  /** What the curls answered; of JSON lines, each. */
  answers: Json[];
  /** What the scripts printed. */
  printed: string;
}

/** Whether the examples can be run; under CI they must. */
export function hasCurl(): boolean {
  try {
    execFileSync('curl', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    assert.ok(!process.env['CI'], 'there is no curl');
    return false;
  }
}

/** The blocks of sh and js of a page, between two of its headings. */
export async function readBlocks(page: string, from = '', to?: string): Promise<Block[]> {
  const text = await readFile(new URL(`../${page}`, import.meta.url), 'utf8');
  const part = text.slice(text.indexOf(from), to === undefined ? undefined : text.indexOf(to));
  return [...part.matchAll(/^```(sh|js)\n(.*?)^```$/gms)].map(([, language, block]) => ({
    language: language!,
    text: block!,
  }));
}

/** Runs blocks against a service, in a directory of their own. */
export async function runBlocks(blocks: readonly Block[], service: Service): Promise<Shell> {
  const cwd = await mkdtemp(join(tmpdir(), 'imid-examples-'));
  const env: Record<string, string> = { PATH: process.env['PATH']!, ADMIN: ADMIN_KEY };
  const shell: Shell = { env, cwd, answers: [], printed: '' };
  try {
    for (const { language, text } of blocks)
      if (language === 'js')
        shell.printed += (
          await run(process.execPath, ['--input-type=module', '-e', text], { env, cwd })
        ).stdout;
      else for (const command of text.split(/\n(?=\S)/)) await runCommand(command, shell, service);
  } finally {
    await rm(cwd, { recursive: true, force: true });
  }
  return shell;
}

/** `NAME=value`, `NAME=… # field of the answer`, or a command that prints JSON, if anything. */
async function runCommand(command: string, { env, cwd, answers }: Shell, service: Service): Promise<void> {
  const [, name, value, field] = /^export (\w+)=(.*?)(?: +# (\w+) of the answer)?\n*$/s.exec(command) ?? [];
  if (name !== undefined) {
    if (field !== undefined) env[name] = answers.at(-1)[field];
    else env[name] = name === 'IMID' ? service.url : value!.replaceAll("'", '');
    assert.ok(env[name], command);
    return;
  }
  const { stdout } = await run('bash', ['-c', command], { env, cwd });
  for (const line of stdout.split('\n')) if (line !== '') answers.push(JSON.parse(line));
}
