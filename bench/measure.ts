// Measures sides of a comparison in turn, round by round, in one run: what disturbs the machine disturbs all of them
// alike, and only their ratio is a figure.

/** One side of a comparison. */
export interface Side {
  /** Not measured: what a round needs to be there. */
  prepare?: (round: number) => Promise<void>;
  /** A round; gives back how many units of work it did. */
  run: (round: number) => Promise<number>;
  /** Not measured but for its CPU time: resolves when all that the round has left to be done is done. */
  settle?: () => Promise<void>;
  /** CPU seconds until now of all that works for this side but not for the load; undefined where nobody knows. */
  cpuSeconds: () => number | undefined;
}

export interface Measured {
  /** The median of the rounds. */
  unitsPerSecond: number;
  /** By round. */
  rates: number[];
  /** Over all rounds; undefined where it isn't known, or too little to be told. */
  cpuSecondsPerUnit: number | undefined;
}

/** The CPU time of a process is counted in hundredths of a second, so that less than this says nothing. */
const CPU_SECONDS_MIN = 0.1;

/** Runs every side once to warm up, and then `rounds` times, in turn. */
export async function measureInTurn<K extends string>(
  sides: Record<K, Side>,
  rounds: number,
): Promise<Record<K, Measured>> {
  const tallies = (Object.entries(sides) as [K, Side][]).map(([name, side]) => ({
    name,
    side,
    rates: [] as number[],
    units: 0,
    cpuSeconds: 0 as number | undefined,
  }));
  for (let round = 0; round <= rounds; round++)
    for (const tally of tallies) {
      await tally.side.prepare?.(round);
      const cpuBefore = tally.side.cpuSeconds();
      const startedAt = performance.now();
      const units = await tally.side.run(round);
      const seconds = (performance.now() - startedAt) / 1000;
      await tally.side.settle?.();
      const cpuAfter = tally.side.cpuSeconds();
      if (round === 0) continue;
      tally.rates.push(units / seconds);
      tally.units += units;
      tally.cpuSeconds =
        tally.cpuSeconds === undefined || cpuBefore === undefined || cpuAfter === undefined
          ? undefined
          : tally.cpuSeconds + cpuAfter - cpuBefore;
    }
  return Object.fromEntries(
    tallies.map(({ name, rates, units, cpuSeconds }) => [
      name,
      {
        unitsPerSecond: median(rates),
        rates,
        cpuSecondsPerUnit:
          cpuSeconds === undefined || cpuSeconds < CPU_SECONDS_MIN ? undefined : cpuSeconds / units,
      },
    ]),
  ) as Record<K, Measured>;
}

/** How much more of the same CPU time one side gets done than another. */
export function cpuRatio(ours: Measured, beside: Measured): number | undefined {
  if (ours.cpuSecondsPerUnit === undefined || beside.cpuSecondsPerUnit === undefined) return undefined;
  return beside.cpuSecondsPerUnit / ours.cpuSecondsPerUnit;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
}
