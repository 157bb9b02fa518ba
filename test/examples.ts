// The examples of the README and of the guides, read out of the page and run as they are written there, in order. A block
// that begins with a comment of a file's name is that file; a program that is started with `&` runs until the end.

import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { ADMIN_KEY, type Json, type Service } from './harness.ts';

const run = promisify(execFile);

interface Block {
  language: string;
  text: string;
}

export interface Shell {
  env: Record<string, string>;
  cwd: string;
  /** What the curls answered; of JSON lines, each. */
  answers: Json[];
  /** What the scripts printed. */
  printed: string;
  /** What was started with `&`. */
  programs: ChildProcess[];
}

export interface RunOptions {
  /** What to export in place of what the page says. */
  given?: Record<string, string>;
  /** Before the first block, in the directory that they run in. */
  prepare?: (cwd: string) => Promise<void>;
  /** After the last one, while the programs still run. */
  use?: (shell: Shell) => Promise<void>;
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

/** The blocks of sh, js and html of a page, between two of its headings. */
export async function readBlocks(page: string, from = '', to?: string): Promise<Block[]> {
  const text = await readFile(new URL(`../${page}`, import.meta.url), 'utf8');
  const part = text.slice(text.indexOf(from), to === undefined ? undefined : text.indexOf(to));
  return [...part.matchAll(/^```(sh|js|html)\n(.*?)^```$/gms)].map(([, language, block]) => ({
    language: language!,
    text: block!,
  }));
}

/** Runs blocks against a service, in a directory of their own. */
export async function runBlocks(
  blocks: readonly Block[],
  service: Service,
  { given = {}, prepare, use }: RunOptions = {},
): Promise<Shell> {
  const cwd = await mkdtemp(join(tmpdir(), 'imid-examples-'));
  const env: Record<string, string> = {
    PATH: `${dirname(process.execPath)}${delimiter}${process.env['PATH']!}`,
    ADMIN: ADMIN_KEY,
  };
  const shell: Shell = { env, cwd, answers: [], printed: '', programs: [] };
  try {
    await prepare?.(cwd);
    for (const { language, text } of blocks) {
      const [, file] = /^(?:\/\/|<!--) (\w+\.\w+)/.exec(text) ?? [];
      if (file !== undefined) await writeFile(join(cwd, file), text);
      else if (language === 'js')
        shell.printed += (
          await run(process.execPath, ['--input-type=module', '-e', text], { env, cwd })
        ).stdout;
      else
        for (const command of text.split(/\n(?=\S)/))
          await runCommand(command, shell, { IMID: service.url, ...given });
    }
    await use?.(shell);
  } finally {
    for (const program of shell.programs) program.kill();
    await rm(cwd, { recursive: true, force: true });
  }
  return shell;
}

/** `NAME=value`, `NAME=… # field of the answer`, `program &`, or a command that prints JSON, if anything. */
async function runCommand(command: string, shell: Shell, given: Record<string, string>): Promise<void> {
  const { env, cwd, answers } = shell;
  const [, name, value, field] = /^export (\w+)=(.*?)(?: +# (\w+) of the answer)?\n*$/s.exec(command) ?? [];
  if (name !== undefined) {
    env[name] = field === undefined ? (given[name] ?? value!.replaceAll("'", '')) : answers.at(-1)[field];
    assert.ok(env[name], command);
    return;
  }
  const [, background] = /^(.+) &\n*$/.exec(command) ?? [];
  if (background !== undefined) return startProgram(background, shell);
  const { stdout } = await run('bash', ['-c', command], { env, cwd });
  for (const line of stdout.split('\n'))
    if (line.startsWith('{')) answers.push(JSON.parse(line));
    else if (line !== '') shell.printed += `${line}\n`;
}

/** Waits for the first that it prints. */
async function startProgram(command: string, { env, cwd, programs }: Shell): Promise<void> {
  const program = spawn('bash', ['-c', `exec ${command}`], {
    env,
    cwd,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  programs.push(program);
  const ended = once(program, 'exit').then(() => assert.fail(`${command} has ended`));
  ended.catch(() => {}); // at the end of the run
  await Promise.race([once(program.stdout, 'data'), ended]);
}
