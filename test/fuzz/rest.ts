// Fires requests at every operation of a service's OpenAPI document, and tells of each answer that it doesn't declare.

import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Service } from '../harness.ts';
import { readDocument, type FuzzOperation } from './document.ts';
import { requestsOf, type FuzzRequest } from './requests.ts';
import { createWire, type Reply } from './wire.ts';
import { createWorlds } from './world.ts';

export interface FuzzOutcome {
  requests: number;
  /** Operations that have answered a request with success. */
  succeeded: Set<string>;
  /** Operations that should have. */
  missed: string[];
  faults: string[];
}

/** What no request here can do: it would need an upgrade, or take the tokens of those who are only looking on. */
const OUT_OF_REACH = new Set(['GET /v1/connect', 'DELETE /v1/keys/{kid}']);
/** How many more requests an operation gets to answer one of them with success. */
const PATIENCE = 300;

export async function fuzzRest(service: Service, seed: number, perOperation: number): Promise<FuzzOutcome> {
  const document = readDocument((await service.call('GET', '/openapi.yaml')).text);
  const worlds = await createWorlds(service);
  const wire = createWire(service.url);
  const outcome: FuzzOutcome = {
    requests: 0,
    succeeded: new Set(),
    missed: [],
    faults: [],
  };

  async function ask(operation: FuzzOperation, request: FuzzRequest): Promise<void> {
    let fault: string | undefined;
    let reply: Reply | undefined;
    try {
      reply = await wire.send(request);
      outcome.requests += 1;
      if (reply && reply.status < 400 && !request.isElsewhere) outcome.succeeded.add(operation.name);
      fault = reply && document.faultOf(reply, request.isElsewhere ? undefined : operation);
    } catch (error) {
      fault = `no answer: ${String(error)}`;
    }
    if (fault === undefined) return;
    const shown = { ...request, body: request.body?.subarray(0, 400).toString('latin1') };
    outcome.faults.push(
      `${operation.name}: ${fault}; ${reply?.status} ${reply?.text.slice(0, 300)}\n  ${JSON.stringify(shown).slice(0, 1500)}`,
    );
  }

  try {
    for (const [i, operation] of document.operations.entries()) {
      const world = await worlds.whole();
      const requests = fc.sample(requestsOf(operation, document, world), {
        numRuns: perOperation,
        seed: seed + i,
      });
      const waiting = requests.values();
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          for (const request of waiting) await ask(operation, request);
        }),
      );
      const isDone = (): boolean => outcome.succeeded.has(operation.name) || OUT_OF_REACH.has(operation.name);
      if (isDone()) continue;
      const more = requestsOf(operation, document, await worlds.whole());
      for (const request of fc.sample(more, { numRuns: PATIENCE, seed: seed - i })) {
        if (isDone()) break;
        if (request.isValid) await ask(operation, request);
      }
    }
    await worlds.assertUnharmed();
  } finally {
    wire.close();
  }
  outcome.missed = document.operations
    .map(({ name }) => name)
    .filter((name) => !outcome.succeeded.has(name) && !OUT_OF_REACH.has(name));
  return outcome;
}

export function assertDeclared({ faults, missed }: FuzzOutcome, seed: number): void {
  assert.equal(faults.length, 0, `IMID_FUZZ_SEED=${seed}\n${faults.join('\n')}`);
  // Else what they do and answer was not looked at, and nothing was alive that could have been harmed.
  assert.deepEqual(missed, [], `IMID_FUZZ_SEED=${seed}`);
}
