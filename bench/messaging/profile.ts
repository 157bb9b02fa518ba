// Where the service's own time goes while a hundred clients talk, as V8 samples it: by module, and by function. Says
// nothing about Postgres, which is another process.

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toFigure } from '../results.ts';
import type { Site } from '../service.ts';
import { startLoadProcess } from './load_process.ts';
import { openDoors, toNames } from './stand.ts';

/** What `--cpu-prof` writes: microseconds on the clock that hrtime also reads. */
interface Profile {
  nodes: readonly ProfileNode[];
  samples: readonly number[];
  timeDeltas: readonly number[];
  startTime: number;
}

interface ProfileNode {
  id: number;
  callFrame: { functionName: string; url: string; lineNumber: number };
  children?: readonly number[];
}

/** Microseconds. */
interface Spent {
  self: number;
  /** With what it called. */
  total: number;
}

const ROOT = new URL('../../', import.meta.url).href;
const IDLE = '(idle)';
const TOP = 45;
/** A part that would be shown as 0.0%. */
const TOO_LITTLE = 0.000_5;

export async function profileService(site: Site, isQuick: boolean): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'imid-bench-profile-'));
  try {
    const round = await profileRound(site, folder, isQuick);
    const [file] = await readdir(folder);
    const profile = JSON.parse(await readFile(join(folder, file!), 'utf8')) as Profile;
    return toText(profile, round);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface Round {
  from: number;
  to: number;
  clients: number;
  delivered: number;
}

/** Resolves when the service has ended, and its profile is written. */
async function profileRound(site: Site, folder: string, isQuick: boolean): Promise<Round> {
  const clients = isQuick ? 10 : 100;
  const talk = { fleet: 0, window: 8, messages: isQuick ? 100 : 1_500 };
  const database = await site.createDatabase();
  await using load = startLoadProcess();
  await using service = await database.startService({
    NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${folder}`,
  });
  const app = await service.createApp(['composed']);
  await load.ask('openFleet', await openDoors(service, app, toNames(0, clients)));
  await load.ask('talk', talk);
  const from = now();
  const { delivered } = await load.ask('talk', talk);
  return { from, to: now(), clients, delivered };
}

function now(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}

function toText(profile: Profile, { from, to, clients, delivered }: Round): string {
  const spent = toSpent(profile, from, to);
  const all = [...spent.values()].reduce((sum, { self }) => sum + self, 0);
  const idle = spent.get(IDLE)?.self ?? 0;
  spent.delete(IDLE);
  const busy = all - idle;
  const percent = (of: number): string => `${((100 * of) / busy).toFixed(1)}%`.padStart(6);
  const sumBy = (toKey: (name: string) => string): [string, number][] => {
    const sums = new Map<string, number>();
    for (const [name, { self }] of spent) sums.set(toKey(name), (sums.get(toKey(name)) ?? 0) + self);
    return [...sums].filter(([, sum]) => sum > TOO_LITTLE * busy).toSorted(([, a], [, b]) => b - a);
  };
  const functions = [...spent].toSorted(([, a], [, b]) => b.self - a.self);
  const ours = functions.filter(([name]) => groupOf(name) === 'ours');
  return [
    `The service's own thread while ${clients} clients with window 8 had ${toFigure(delivered)} messages delivered:`,
    `${(all / 1e6).toFixed(1)} s, of which it was idle ${Math.round((100 * idle) / all)}%. Everything below is a part of the rest,`,
    `${(busy / delivered).toFixed(1)} µs for a message. The profiler itself makes it slower.`,
    '',
    'By module',
    ...sumBy(groupOf).map(([group, self]) => `${percent(self)}  ${group}`),
    '',
    'Ours by file',
    ...sumBy((name) => (groupOf(name) === 'ours' ? fileOf(name) : ''))
      .filter(([file]) => file !== '')
      .map(([file, self]) => `${percent(self)}  ${file}`),
    '',
    `The ${TOP} functions with the most time of their own (then: with what they called)`,
    ...functions
      .slice(0, TOP)
      .map(([name, { self, total }]) => `${percent(self)} ${percent(total)}  ${groupOf(name)}: ${name}`),
    '',
    `Ours with the most time with what they called (then: of their own)`,
    ...ours
      .toSorted(([, a], [, b]) => b.total - a.total)
      .slice(0, TOP)
      .map(([name, { self, total }]) => `${percent(total)} ${percent(self)}  ${name}`),
    '',
  ].join('\n');
}

/** By function: name, and file with line. */
function toSpent(
  { nodes, samples, timeDeltas, startTime }: Profile,
  from: number,
  to: number,
): Map<string, Spent> {
  const selfOf = new Map<number, number>();
  let at = startTime;
  for (const [i, id] of samples.entries()) {
    at += timeDeltas[i]!;
    // A delta is what passed before its sample was taken.
    if (at >= from && at < to) selfOf.set(id, (selfOf.get(id) ?? 0) + timeDeltas[i]!);
  }
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const spent = new Map<string, Spent>();
  add(nodes[0]!, new Set());
  return spent;

  /** Gives back the time of the node with all below; `above` are the functions it is called by. */
  function add(node: ProfileNode, above: ReadonlySet<string>): number {
    const name = nameOf(node);
    const below = new Set(above).add(name);
    const self = selfOf.get(node.id) ?? 0;
    let total = self;
    for (const child of node.children ?? []) total += add(byId.get(child)!, below);
    const sum = spent.get(name) ?? { self: 0, total: 0 };
    spent.set(name, { self: sum.self + self, total: sum.total + (above.has(name) ? 0 : total) });
    return total;
  }
}

function nameOf({ callFrame: { functionName, url, lineNumber } }: ProfileNode): string {
  const name = functionName || '(anonymous)';
  return url === '' ? name : `${name} ${url.replace(ROOT, '')}:${lineNumber + 1}`;
}

function fileOf(name: string): string {
  return /(\S+):\d+$/.exec(name)?.[1] ?? '';
}

function groupOf(name: string): string {
  const file = fileOf(name);
  if (file.startsWith('src/')) return 'ours';
  if (file.startsWith('node:')) return 'node';
  const [, module] = /(?:.*\/)?node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file) ?? [];
  if (module !== undefined) return /^pg(-|$)|^postgres-/.test(module) ? 'pg' : module;
  if (name === '(garbage collector)') return 'gc';
  if (name === '(program)') return 'native code outside of any function, and the kernel';
  return 'native functions';
}
