// Makes many calls one: what is asked for while others are under way goes with the next ones.

interface Waiting<T, R> {
  ask: T;
  resolve: (answer: R) => void;
  reject: (error: unknown) => void;
}

/**
 * `act` answers each ask at its place; when it throws, all that went along fail. At most `maxActs` are under way, with
 * `maxAsks` each. Nothing waits while there is room for one more act.
 */
export function coalesce<T, R>(
  act: (asks: readonly T[]) => Promise<readonly R[]>,
  { maxActs, maxAsks }: { maxActs: number; maxAsks: number },
): (ask: T) => Promise<R> {
  let waiting: Waiting<T, R>[] = [];
  let acts = 0;

  async function run(): Promise<void> {
    acts += 1;
    // What is asked for in the same turn of the event loop goes along.
    await new Promise(setImmediate);
    while (waiting.length > 0) {
      const batch = waiting.slice(0, maxAsks);
      waiting = waiting.slice(maxAsks);
      try {
        const answers = await act(batch.map(({ ask }) => ask));
        for (const [i, { resolve }] of batch.entries()) resolve(answers[i]!);
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    acts -= 1;
  }

  return (ask) => {
    const { promise, resolve, reject } = Promise.withResolvers<R>();
    waiting.push({ ask, resolve, reject });
    if (acts < maxActs) void run();
    return promise;
  };
}
