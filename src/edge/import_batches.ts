// Works through the lines of an import in batches, in order, and reads the next batch while one is at work.

import { ImidError } from '../errors.ts';
import type { Registration } from '../identity/registrations.ts';
import type { Line } from './lines.ts';
import { readRegistration } from './import_lines.ts';

const BATCH = 4_000;

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

/**
 * Has the registrations of lines done, and tells of each line what it came to, as soon as it is known; the next batch
 * is at work by then, if it has come in.
 */
export async function* workThrough<T>(
  lists: AsyncIterable<Line[]>,
  registerMany: (wanted: readonly Registration[]) => Promise<(T | ImidError)[]>,
): AsyncGenerator<Outcome<T>[]> {
  const working = workBatches(lists, registerMany);
  try {
    for (let step = await working.next(); !step.done;) {
      const next = working.next();
      next.catch(() => {}); // it is waited for below, if anybody still wants to know
      yield step.value;
      step = await next;
    }
  } finally {
    await working.return(undefined);
  }
}

async function* workBatches<T>(
  lists: AsyncIterable<Line[]>,
  registerMany: (wanted: readonly Registration[]) => Promise<(T | ImidError)[]>,
): AsyncGenerator<Outcome<T>[]> {
  for await (const batch of readAhead(lists)) {
    const wanted = batch.flatMap(({ registration }) =>
      registration instanceof ImidError ? [] : [registration],
    );
    const results = await registerMany(wanted);
    let next = 0;
    yield batch.map(({ line, registration }) =>
      registration instanceof ImidError
        ? { line, userId: undefined, result: registration }
        : { line, userId: registration.userId, result: results[next++]! },
    );
  }
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
