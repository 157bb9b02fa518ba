// Works through the lines of an import in batches, in order, and reads the next batch while one is at work; what the lines
// ask for is the caller's.

import { asImidError, ImidError } from '../errors.ts';
import type { Line } from './lines.ts';
import { toLines } from './ndjson.ts';

interface ReadLine<W> {
  line: number;
  wanted: W | ImidError;
}

/** What a line came to. */
export interface Outcome<W, T> {
  line: number;
  /** Undefined where the line is ill-formed. */
  wanted: W | undefined;
  result: T | ImidError;
}

export interface Worker<W, T> {
  read: (line: Line) => W | ImidError;
  /** Results in order. */
  act: (wanted: readonly W[]) => Promise<(T | ImidError)[]>;
  /** What a line has to do with: batches that have something in common are not at work at once. */
  touches: (wanted: W) => readonly string[];
  /** Lines, at most. */
  batch: number;
  /** How many batches may be at work at once. */
  atOnce: number;
}

/** Has done what lines ask for, and tells of each line what it came to, in order, as soon as it is known. */
export async function* workThrough<W, T>(
  lists: AsyncIterable<Line[]>,
  worker: Worker<W, T>,
): AsyncGenerator<Outcome<W, T>[]> {
  const batches = readAhead(lists, worker);
  const atWork: { outcomes: Promise<Outcome<W, T>[]>; touched: Set<string> }[] = [];
  let failure: Error | undefined;
  const take = (): Promise<ReadLine<W>[] | undefined> =>
    batches.next().then(
      ({ done, value }) => (done ? undefined : value),
      (error: Error) => void (failure = error),
    );
  const isBlocked = (touched: Set<string>): boolean =>
    atWork.length === worker.atOnce || atWork.some((other) => !other.touched.isDisjointFrom(touched));
  try {
    let coming = take();
    for (;;) {
      // Whichever is first, so that what is done is told while the next lines are long in coming.
      const hasCome = coming.then(() => false);
      const first = atWork[0]?.outcomes.then(() => true);
      if (await Promise.race(first ? [first, hasCome] : [hasCome])) {
        yield await atWork.shift()!.outcomes;
        continue;
      }
      const batch = await coming;
      if (!batch) break;
      coming = take();
      const touched = new Set(
        batch.flatMap(({ wanted }) => (wanted instanceof ImidError ? [] : worker.touches(wanted))),
      );
      while (isBlocked(touched)) yield await atWork.shift()!.outcomes;
      const outcomes = workOn(batch, worker);
      outcomes.catch(() => {}); // it is waited for in its turn, if anybody still wants to know
      atWork.push({ outcomes, touched });
    }
    for (const { outcomes } of atWork) yield await outcomes;
    if (failure) throw failure;
  } finally {
    await batches.return(undefined);
  }
}

async function workOn<W, T>(batch: readonly ReadLine<W>[], { act }: Worker<W, T>): Promise<Outcome<W, T>[]> {
  const results = await act(batch.flatMap(({ wanted }) => (wanted instanceof ImidError ? [] : [wanted])));
  let next = 0;
  return batch.map(({ line, wanted }) =>
    wanted instanceof ImidError
      ? { line, wanted: undefined, result: wanted }
      : { line, wanted, result: results[next++]! },
  );
}

/** Whatever came in while the batch before was at work, up to a whole batch. What fails does so behind the last line. */
async function* readAhead<W, T>(
  lists: AsyncIterable<Line[]>,
  { read: readLine, batch: size }: Worker<W, T>,
): AsyncGenerator<ReadLine<W>[]> {
  const ahead = { lines: [] as ReadLine<W>[], isOver: false, signal: (): void => {} };
  // Only ever one of the two waits: the reader where there is enough, the taker where there is nothing.
  const change = (): Promise<void> => new Promise((resolve) => (ahead.signal = resolve));
  const end = (): void => {
    ahead.isOver = true;
    ahead.signal();
  };
  const read = async (): Promise<void> => {
    for await (const list of lists) {
      for (const line of list) ahead.lines.push({ line: line.line, wanted: readLine(line) });
      ahead.signal();
      while (ahead.lines.length >= size && !ahead.isOver) await change();
      if (ahead.isOver) return;
    }
  };
  const reading = read().finally(end);
  reading.catch(() => {}); // it is waited for below, if anybody still wants to know
  try {
    while (!ahead.isOver || ahead.lines.length > 0) {
      if (ahead.lines.length === 0) await change();
      const batch = ahead.lines.splice(0, size);
      ahead.signal();
      if (batch.length > 0) yield batch;
    }
    await reading;
  } finally {
    end();
  }
}

/** The results of an import as lines of NDJSON; where it ends early, the last one says why, and has no number. */
export async function* writeResults<W, T>(
  lists: AsyncIterable<Line[]>,
  worker: Worker<W, T>,
  toResult: (outcome: Outcome<W, T>) => object,
  onError: (error: unknown) => void,
): AsyncGenerator<string> {
  try {
    for await (const outcomes of workThrough(lists, worker)) yield toLines(outcomes.map(toResult));
  } catch (error) {
    onError(error);
    yield toLines([toError(asImidError(error))]); // the status is long sent
  }
}

export function toError({ code, message }: ImidError): { error: { code: string; detail: string } } {
  return { error: { code, detail: message } };
}
