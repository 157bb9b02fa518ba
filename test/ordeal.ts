// Something is done to services under load, and everything that was said meanwhile is judged.

import assert from 'node:assert/strict';
import { startLoad, type Load, type LoadOptions } from './load.ts';
import { findViolations } from './verdict.ts';

/** How many messages each client is answered before and after. */
export const FLOW = 20;
const SHOWN_LINES = 20;

/** Gives back how many messages there were. */
export async function underLoad(
  options: LoadOptions,
  act: (load: Load) => Promise<unknown>,
): Promise<number> {
  const load = await startLoad(options);
  try {
    await load.flows(FLOW);
    await act(load);
    await load.flows(FLOW);
    const violations = findViolations(await load.finish());
    assert.deepEqual(violations.slice(0, SHOWN_LINES), [], `${violations.length} violations`);
    return load.talkers.reduce((sum, { answered }) => sum + answered, 0);
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    // Why it got stuck may be among them.
    const violations = await load.readEvidence().then(findViolations, () => ['the inboxes can’t be read']);
    throw new Error([(error as Error).message, ...violations.slice(0, SHOWN_LINES)].join('\n'), {
      cause: error,
    });
  } finally {
    load.close();
  }
}
