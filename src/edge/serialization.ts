// Writes answers by their schemas, which leave out what isn't declared. Each is compiled once, however many routes,
// statuses and services have it: Fastify would compile that of problems some seven hundred times.

import fastJsonStringify from 'fast-json-stringify';
import { sharedShapes } from './shapes.ts';

type Write = (answer: unknown) => string;

const shapes = Object.fromEntries(sharedShapes.map((shape) => [(shape as { $id?: string }).$id, shape]));
const compiled = new WeakMap<object, Write>();

/** For Fastify. */
export function compileAnswer(schema: object): Write {
  const write = compiled.get(schema) ?? (fastJsonStringify(schema, { schema: shapes }) as Write);
  compiled.set(schema, write);
  return write;
}
