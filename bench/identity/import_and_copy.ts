// Importing users beside `copy` into a table of the same kind with the same indexes; and the memory that an import of
// a million lines takes beside one of ten thousand.

import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { from as copyFrom } from 'pg-copy-streams';
import { makeUuid } from '../../src/ids.ts';
import { importLines, toChunks, toJsonLine } from '../importing.ts';
import { measureInTurn } from '../measure.ts';
import { memoryMibOf } from '../processes.ts';
import { toFigure, toRatioRow, type Row } from '../results.ts';
import type { Site } from '../service.ts';

export async function importAndCopy(site: Site, isQuick: boolean): Promise<Row[]> {
  return [
    await compareSpeed(site, isQuick),
    ...(await compareMemory(site, isQuick)),
    ...(await compareMemory(site, isQuick, 96)),
  ];
}

async function compareSpeed(site: Site, isQuick: boolean): Promise<Row> {
  const rounds = isQuick ? 2 : 7;
  const linesPerRound = isQuick ? 1_000 : 100_000;

  const database = await site.createDatabase();
  await using service = await database.startService();
  const app = await service.createApp(['registered']);
  await database.pool.query('create table identity_copied (like identity including all)');

  let chunks: string[] = [];
  const prepareWith = (toLine: (name: string) => string) => async (turn: number) => {
    chunks = [...toChunks(turn * linesPerRound, (turn + 1) * linesPerRound, toLine)];
  };
  const measured = await measureInTurn(
    {
      ours: {
        cpuSeconds: () => service.cpuSeconds(),
        prepare: prepareWith(toJsonLine),
        run: () => importLines(app, chunks),
      },
      beside: {
        cpuSeconds: () => database.cpuSeconds(),
        prepare: prepareWith((name) => `${app.appId}\t${name}\t${makeUuid(new Date())}\n`),
        async run() {
          const client = await database.pool.connect();
          try {
            const copy = client.query(copyFrom('copy identity_copied (app_id, name, im_id) from stdin'));
            await pipeline(Readable.from(chunks), copy);
            return copy.rowCount;
          } finally {
            client.release();
          }
        },
      },
    },
    rounds,
  );
  return toRatioRow('import of users as JSON lines', 0.5, measured, {
    of: 'rows',
    beside: '`copy` into the same table and indexes',
  });
}

/**
 * How much more memory a fresh service takes at most in an import of a million lines than in one of ten thousand: as it
 * is, when V8 lets its heap grow before it looks for what can go; and with a heap that can't grow, which tells what it needs.
 */
async function compareMemory(site: Site, isQuick: boolean, heapMib?: number): Promise<Row[]> {
  const few = isQuick ? 1_000 : 10_000;
  const many = isQuick ? 5_000 : 1_000_000;

  const database = await site.createDatabase();
  await using service = await database.startService(
    heapMib === undefined ? {} : { NODE_OPTIONS: `--max-old-space-size=${heapMib}` },
  );
  const app = await service.createApp(['registered']);
  const peakOf = async (from: number, to: number): Promise<number | undefined> => {
    const peak = watchMemory(service.pid);
    await importLines(app, toChunks(from, to, toJsonLine));
    return peak();
  };
  const least = await peakOf(0, few);
  const most = await peakOf(few, few + many);
  if (least === undefined || most === undefined) return [];
  return [
    {
      what: `memory of importing ${toFigure(many)} lines${heapMib === undefined ? '' : `, heap ≤ ${heapMib} MiB`}`,
      ours: `${toFigure(most)} MiB at most`,
      theirs: `${toFigure(least)} MiB at most`,
      beside: `the first ${toFigure(few)} lines`,
      figure: Math.max(0, most - least),
      rounds: [],
      unit: 'MiB',
      target: 20,
      cpu: undefined,
    },
  ];
}

/** Looks at the memory of a process until it is asked how much it was at most. */
function watchMemory(pid: number): () => number | undefined {
  let peak = memoryMibOf(pid);
  const look = (): void => {
    const now = memoryMibOf(pid);
    peak = peak === undefined || now === undefined ? undefined : Math.max(peak, now);
  };
  const watching = setInterval(look, 10);
  return () => {
    clearInterval(watching);
    look();
    return peak;
  };
}
