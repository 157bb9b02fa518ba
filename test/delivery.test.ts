// What is shown of an inbox while it is being read.

import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'node:test';
import { Delivery } from '../src/routing/delivery.ts';
import type { InboxEntry } from '../src/store/messages.ts';

test('a ring that finds nothing yet does not hide a message that is offered meanwhile', async () => {
  const shown: number[] = [];
  const reads: ((entries: InboxEntry[]) => void)[] = [];
  const delivery = new Delivery({
    peer: {
      send() {},
      close() {},
      pause() {},
      resume() {},
      buffered: 0,
      drained: () => Promise.resolve(true),
    },
    read: () => new Promise((resolve) => reads.push(resolve)),
    show: (entry) => shown.push(entry.seq),
    skip: () => {},
    onStalled: () => {},
    onError: () => {},
  });
  const entry = { seq: 1 } as InboxEntry;
  delivery.begin(0, 0);
  delivery.look();
  await turn();
  delivery.offer(entry);
  reads[0]!([]);
  await turn();
  assert.equal(reads.length, 2);
  reads[1]!([entry]);
  await turn();
  assert.deepEqual(shown, [1]);
});
