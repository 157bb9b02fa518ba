// Compiles schemas, each once for all that read the same: Fastify would compile that of problems some seven hundred times.

/** `compile`, but for a schema that reads like one before. */
export function compiledOnce<C>(compile: (schema: object) => C): (schema: object) => C {
  const compiled = new Map<string, C>();
  return (schema) => {
    const key = JSON.stringify(schema);
    const known = compiled.get(key) ?? compile(schema);
    compiled.set(key, known);
    return known;
  };
}
