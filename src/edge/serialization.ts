// Writes answers by their schemas, which leave out what isn't declared.

import fastJsonStringify from 'fast-json-stringify';
import { compiledOnce } from './compiled_once.ts';
import { sharedShapes } from './shapes.ts';

const shapes = Object.fromEntries(sharedShapes.map((shape) => [(shape as { $id?: string }).$id, shape]));

/** For Fastify. */
export const compileAnswer = compiledOnce(
  (schema) => fastJsonStringify(schema, { schema: shapes }) as (answer: unknown) => string,
);
