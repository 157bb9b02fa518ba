// Writes answers by their schemas, which leave out what isn't declared. What reads the same is compiled once: Fastify would
// compile the schema of problems some seven hundred times.

import fastJsonStringify from 'fast-json-stringify';
import { sharedShapes } from './shapes.ts';

type Write = (answer: unknown) => string;

const shapes = Object.fromEntries(sharedShapes.map((shape) => [(shape as { $id?: string }).$id, shape]));
const compiled = new Map<string, Write>();

/** For Fastify. */
export function compileAnswer(schema: object): Write {
  const key = JSON.stringify(schema);
  const write = compiled.get(key) ?? (fastJsonStringify(schema, { schema: shapes }) as Write);
  compiled.set(key, write);
  return write;
}
