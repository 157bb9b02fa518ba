// What the library costs a page: all of it in one file, minified, and as it goes over the wire.

import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { rolldown } from 'rolldown';
import { toFigure, type Row } from '../results.ts';

const INDEX = fileURLToPath(new URL('../../src/client/index.ts', import.meta.url));
const LIMIT_KIB = 8;

export async function size(): Promise<Row[]> {
  const bundle = await rolldown({ input: INDEX, platform: 'browser' });
  const { output } = await bundle.generate({ format: 'es', minify: true });
  await bundle.close();
  const [{ code }] = output;
  const toKib = (bytes: number): number => bytes / 1024;
  const gzipped = toKib(gzipSync(code).length);
  return [
    {
      what: 'size of the library, minified and gzipped',
      ours: `${toFigure(gzipped)} KiB`,
      theirs: `${toFigure(toKib(Buffer.byteLength(code)))} KiB`,
      beside: 'minified alone',
      figure: gzipped,
      rounds: [],
      unit: 'KiB',
      target: LIMIT_KIB,
      cpu: undefined,
    },
  ];
}
