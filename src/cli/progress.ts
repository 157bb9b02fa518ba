// How far a command is, on stderr: a bar on a terminal, else a line every few seconds.

import { createLogUpdate } from 'log-update';

const BAR_WIDTH = 30;
const TERMINAL_MS = 100;
const LINE_MS = 5_000;

export interface Progress {
  add(count: number): void;
  /** A line that stays. */
  note(line: string): void;
  end(): void;
  /** How many, how long it took and how fast that is, in words. */
  sum(): string;
}

/** `unit` is what is counted; `share` tells how much is done then, from 0 to 1, where that is known. */
export function createProgress(unit: string, share: (count: number) => number | undefined): Progress {
  const { stderr } = process;
  const startedAt = performance.now();
  let count = 0;
  const terminal = stderr.isTTY ? createLogUpdate(stderr) : undefined;

  const perSecond = (): number => count / Math.max((performance.now() - startedAt) / 1000, 0.001);
  const line = (): string => {
    const done = share(count);
    const words = `${format(count)} ${unit}, ${format(perSecond())}/s`;
    if (done === undefined) return words;
    return `${terminal ? `${bar(done)} ` : ''}${Math.floor(done * 100)}%${count > 0 ? `, ${words}` : ''}`;
  };
  const show = (): void => {
    if (terminal) terminal(line());
    else stderr.write(`${line()}\n`);
  };
  const timer = setInterval(show, terminal ? TERMINAL_MS : LINE_MS);

  return {
    add: (more) => (count += more),
    note(text) {
      if (terminal) terminal.persist(text);
      else stderr.write(`${text}\n`);
    },
    end() {
      clearInterval(timer);
      terminal?.clear();
      terminal?.done();
    },
    sum() {
      const seconds = (performance.now() - startedAt) / 1000;
      return `${format(count)} ${unit} in ${seconds.toFixed(1)} s, ${format(perSecond())}/s`;
    },
  };
}

function bar(share: number): string {
  const full = Math.round(Math.min(share, 1) * BAR_WIDTH);
  return '█'.repeat(full) + '░'.repeat(BAR_WIDTH - full);
}

export function format(count: number): string {
  return Math.round(count).toLocaleString('en');
}
