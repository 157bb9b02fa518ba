// What a bench comes to: a row that says what was measured beside what, and whether the target is reached.

import { cpuRatio, type Measured } from './measure.ts';

export interface Row {
  what: string;
  /** Our figure, and what stands beside it, in words. */
  ours: string;
  beside: string;
  figure: number;
  /** The figure of each round, lowest and highest. */
  range: [number, number] | undefined;
  unit: Unit;
  target: number;
  /** How much more is done with the same CPU time (beside: 1); undefined where it isn't known. */
  cpu: number | undefined;
}

/** `ofBeside`: a ratio that should be high; `times` and `MiB` should be low. */
export type Unit = 'ofBeside' | 'times' | 'MiB';

export function isReached({ unit, figure, target }: Row): boolean {
  return unit === 'ofBeside' ? figure >= target : figure <= target;
}

/** Ours as a part of what stands beside it: the ratio of the medians. */
export function toRatioRow(
  what: string,
  target: number,
  { ours, beside }: { ours: Measured; beside: Measured },
  words: { of: string; beside: string },
): Row {
  return {
    what,
    ours: `${perSecond(ours)} ${words.of}`,
    beside: `${perSecond(beside)}: ${words.beside}`,
    figure: ours.unitsPerSecond / beside.unitsPerSecond,
    range: rangeOf(ours.rates.map((rate, round) => rate / beside.rates[round]!)),
    unit: 'ofBeside',
    target,
    cpu: cpuRatio(ours, beside),
  };
}

export function rangeOf(values: readonly number[]): [number, number] {
  return [Math.min(...values), Math.max(...values)];
}

export function perSecond({ unitsPerSecond }: Measured): string {
  return `${toFigure(unitsPerSecond)}/s`;
}

/** Two digits that say something, with thousands set apart. */
export function toFigure(value: number): string {
  if (value < 100) return String(Number(value.toPrecision(2)));
  const digits = 10 ** Math.max(0, Math.floor(Math.log10(value)) - 2);
  return (Math.round(value / digits) * digits).toLocaleString('en-GB');
}
