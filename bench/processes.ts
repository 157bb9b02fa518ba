// What processes have used: CPU time, and memory. Read from /proc, so that it is known on Linux only.

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const TICKS_PER_SECOND = 100; // USER_HZ, fixed on every Linux that Node runs on

/** CPU seconds of processes until now; undefined where the system doesn't say. */
export function cpuSecondsOf(pids: readonly number[]): number | undefined {
  return sum(pids.map((pid) => readTimes(pid)?.own));
}

/** CPU seconds of a Postgres until now: of its postmaster, and of every process it has started. */
export function cpuSecondsOfPostgres(postmaster: number): number | undefined {
  const times = readTimes(postmaster);
  const children = read(`/proc/${postmaster}/task/${postmaster}/children`);
  if (!times || children === undefined) return undefined;
  const living = children.split(' ').filter(Boolean).map(Number);
  // One that has ended between the two reads is in the postmaster's sum the next time.
  return times.own + times.ended + (sum(living.map((pid) => readTimes(pid)?.own ?? 0)) ?? 0);
}

const QUIET_MS = 250;
const QUIET_SECONDS = 0.02;
const QUIET_TRIES_MAX = 20;

/** Resolves once next to no CPU time is used, so that what one measurement has left behind isn't part of the next. */
export async function untilQuiet(cpuSeconds: () => number | undefined): Promise<void> {
  for (let tries = 0; tries < QUIET_TRIES_MAX; tries++) {
    const before = cpuSeconds();
    await sleep(QUIET_MS);
    const after = cpuSeconds();
    if (before !== undefined && after !== undefined && after - before <= QUIET_SECONDS) return;
  }
}

/** The memory that a process holds (RSS). */
export function memoryMibOf(pid: number): number | undefined {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/status`) ?? '')?.[1];
  return kib === undefined ? undefined : Number(kib) / 1024;
}

/** The parent of a process. */
export function parentOf(pid: number): number | undefined {
  const parent = readStat(pid)?.[1];
  return parent === undefined ? undefined : Number(parent);
}

/** Of the process itself, and of its children that have ended. */
function readTimes(pid: number): { own: number; ended: number } | undefined {
  const stat = readStat(pid);
  if (!stat) return undefined;
  const [user, system, endedUser, endedSystem] = stat.slice(11, 15).map(Number) as [
    number,
    number,
    number,
    number,
  ];
  return { own: (user + system) / TICKS_PER_SECOND, ended: (endedUser + endedSystem) / TICKS_PER_SECOND };
}

/** The fields of proc_pid_stat(5) from the third on: those behind the name, which may hold anything. */
function readStat(pid: number): string[] | undefined {
  const text = read(`/proc/${pid}/stat`);
  return text?.slice(text.lastIndexOf(')') + 2).split(' ');
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}

function sum(values: readonly (number | undefined)[]): number | undefined {
  return values.reduce<number | undefined>(
    (total, value) => (total === undefined || value === undefined ? undefined : total + value),
    0,
  );
}
