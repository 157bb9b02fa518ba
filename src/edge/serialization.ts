// Writes answers by their schemas, which leave out what isn't declared.

import fastJsonStringify from 'fast-json-stringify';
import { compiledOnce } from './compiled_once.ts';
import { sharedShapes } from './shapes.ts';

const shapes = Object.fromEntries(sharedShapes.map((shape) => [(shape as { $id?: string }).$id, shape]));

/** For Fastify; compiled when something is first answered so. */
export const compileAnswer = compiledOnce((schema) => {
  let write: ((answer: unknown) => string) | undefined;
  return (answer: unknown): string => {
    write ??= fastJsonStringify(schema, { schema: shapes });
    return write(answer);
  };
});
