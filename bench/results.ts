// What a bench comes to: a row that says what was measured beside what, and whether the target is reached.

import { cpuRatio, median, type Measured } from './measure.ts';

export interface Row {
  what: string;
  /** How the service did, and how what stands beside it. */
  ours: string;
  theirs: string;
  /** What stands beside it. */
  beside: string;
  figure: number;
  /** The figure of each round; none where it was taken once. */
  rounds: readonly number[];
  unit: Unit;
  target: number;
  /** How much more is done with the same CPU time (beside: 1); undefined where it isn't known. */
  cpu: number | undefined;
}

/** `ofBeside`: a ratio that should be high; the others should be low. */
export type Unit = 'ofBeside' | 'times' | 'MiB' | 'KiB' | 'µs';

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
    theirs: perSecond(beside),
    beside: words.beside,
    figure: ours.unitsPerSecond / beside.unitsPerSecond,
    rounds: ours.rates.map((rate, round) => rate / beside.rates[round]!),
    unit: 'ofBeside',
    target,
    cpu: cpuRatio(ours, beside),
  };
}

/** How much longer ours takes than what stands beside it. */
export function toTimesRow(
  what: string,
  target: number,
  { ours, beside }: { ours: Measured; beside: Measured },
  words: { of: string; beside: string },
): Row {
  const cpu = cpuRatio(ours, beside);
  return {
    ...toRatioRow(what, target, { ours, beside }, words),
    figure: beside.unitsPerSecond / ours.unitsPerSecond,
    rounds: ours.rates.map((rate, round) => beside.rates[round]! / rate),
    unit: 'times',
    cpu: cpu === undefined ? undefined : 1 / cpu,
  };
}

/** How long something took that was done many times. */
export interface Latency {
  medianMs: number;
  p99Ms: number;
}

/** How much longer ours takes than what stands beside it, in the p99: the ratio of the rounds' medians. */
export function toLatencyRow(
  what: string,
  target: number,
  took: Record<'ours' | 'beside', readonly Latency[]>,
  { beside, cpu }: { beside: string; cpu?: number | undefined },
): Row {
  const medianOf = (side: readonly Latency[], of: keyof Latency): number =>
    median(side.map((round) => round[of]));
  const show = (side: readonly Latency[]): string =>
    `${toFigure(medianOf(side, 'p99Ms'))} ms in the p99 (median ${toFigure(medianOf(side, 'medianMs'))} ms)`;
  return {
    what,
    ours: show(took.ours),
    theirs: show(took.beside),
    beside,
    figure: medianOf(took.ours, 'p99Ms') / medianOf(took.beside, 'p99Ms'),
    rounds: took.ours.map(({ p99Ms }, round) => p99Ms / took.beside[round]!.p99Ms),
    unit: 'times',
    target,
    cpu,
  };
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
