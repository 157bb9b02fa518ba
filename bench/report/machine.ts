// When and where it was measured, as every result says.

import { availableParallelism, cpus, totalmem } from 'node:os';

export interface Setting {
  command: string;
  postgresVersion: string;
  /** How long everything took. */
  seconds: number;
}

export function describeSetting({ command, postgresVersion, seconds }: Setting): string {
  const [cpu] = cpus();
  const gib = Math.round(totalmem() / 2 ** 30);
  return [
    `Measured on ${new Date().toISOString().slice(0, 10)} with \`${command}\` in ${(seconds / 60).toFixed(1)} minutes,`,
    `load and Postgres on the same machine: ${availableParallelism()} cores of ${cpu?.model.trim() ?? 'unknown'},`,
    `${gib} GiB, ${process.platform}, Node ${process.versions.node}, Postgres ${postgresVersion} (embedded,`,
    'as `npm start` runs it).',
  ].join(' ');
}
