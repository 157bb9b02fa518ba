// Works through the lines of an import in batches, in order, and reads the next batch while one is at work.

import { ImidError } from '../errors.ts';
import type { Registration } from '../identity/registrations.ts';
import type { Line } from './lines.ts';
import { readRegistration } from './import_lines.ts';

const BATCH = 2_000;

interface ReadLine {
  line: number;
  registration: Registration | ImidError;
}

/** What a line came to. */
export interface Outcome<T> {
  line: number;
  /** Undefined where the line is ill-formed. */
  userId: string | undefined;
  result: T | ImidError;
}

export interface Worker<T> {
  registerMany: (wanted: readonly Registration[]) => Promise<(T | ImidError)[]>;
  /** How many batches it may have at once, where they have nothing to do with one another. */
  atOnce: number;
}

/** Has the registrations of lines done, and tells of each line what it came to, in order, as soon as it is known. */
export async function* workThrough<T>(
  lists: AsyncIterable<Line[]>,
  worker: Worker<T>,
): AsyncGenerator<Outcome<T>[]> {
  const batches = readAhead(lists);
  const atWork: { outcomes: Promise<Outcome<T>[]>; touched: Set<string> }[] = [];
  let failure: Error | undefined;
  const take = (): Promise<ReadLine[] | undefined> =>
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
      const touched = touchedBy(batch);
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

/** The names and imIds that a batch has to do with. */
function touchedBy(batch: readonly ReadLine[]): Set<string> {
  const touched = new Set<string>();
  for (const { registration } of batch) {
    if (registration instanceof ImidError) continue;
    const { userId, imId, adopt } = registration;
    touched.add(userId);
    if (imId !== undefined) touched.add(imId);
    if (typeof adopt === 'object') touched.add(adopt.uid);
  }
  return touched;
}

async function workOn<T>(batch: readonly ReadLine[], { registerMany }: Worker<T>): Promise<Outcome<T>[]> {
  const wanted = batch.flatMap(({ registration }) =>
    registration instanceof ImidError ? [] : [registration],
  );
  const results = await registerMany(wanted);
  let next = 0;
  return batch.map(({ line, registration }) =>
    registration instanceof ImidError
      ? { line, userId: undefined, result: registration }
      : { line, userId: registration.userId, result: results[next++]! },
  );
}

/** Whatever came in while the batch before was at work, up to a whole batch. What fails does so behind the last line. */
async function* readAhead(lists: AsyncIterable<Line[]>): AsyncGenerator<ReadLine[]> {
  const ahead = { lines: [] as ReadLine[], isOver: false, signal: (): void => {} };
  // Only ever one of the two waits: the reader where there is enough, the taker where there is nothing.
  const change = (): Promise<void> => new Promise((resolve) => (ahead.signal = resolve));
  const end = (): void => {
    ahead.isOver = true;
    ahead.signal();
  };
  const read = async (): Promise<void> => {
    for await (const list of lists) {
      for (const line of list) ahead.lines.push({ line: line.line, registration: readRegistration(line) });
      ahead.signal();
      while (ahead.lines.length >= BATCH && !ahead.isOver) await change();
      if (ahead.isOver) return;
    }
  };
  const reading = read().finally(end);
  reading.catch(() => {}); // it is waited for below, if anybody still wants to know
  try {
    while (!ahead.isOver || ahead.lines.length > 0) {
      if (ahead.lines.length === 0) await change();
      const batch = ahead.lines.splice(0, BATCH);
      ahead.signal();
      if (batch.length > 0) yield batch;
    }
    await reading;
  } finally {
    end();
  }
}

export function toError({ code, message }: ImidError): { error: { code: string; detail: string } } {
  return { error: { code, detail: message } };
}
