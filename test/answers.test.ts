// When a connection is answered what it has sent, whichever comes first: that it is stored, or its entry in the inbox.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Answers } from '../src/routing/answers.ts';
import type { InboxEntry } from '../src/store/messages.ts';

const at = new Date(0);

function setUp() {
  const log: string[] = [];
  const shown = { run: 0, cursor: 0, reach: (seq: number) => void log.push(`reach ${seq}`) };
  const answers = new Answers(
    {
      send(text) {
        const { id, messageId, seq } = JSON.parse(text);
        log.push(`sent ${id} ${messageId} ${seq}`);
      },
    },
    shown,
  );
  const come = (entry: Partial<InboxEntry> & { clientId: string; messageId: string; seq: number }): void => {
    shown.cursor = entry.seq;
    if (!answers.show({ at, ...entry } as InboxEntry)) log.push(`other ${entry.seq}`);
    answers.showRepeated({ at, ...entry } as InboxEntry);
  };
  return { answers, shown, log, come };
}

test('a message is answered where its seq comes, and once for each time it was sent', () => {
  const { answers, log, come } = setUp();
  answers.expect('a');
  answers.expect('a');
  answers.settle('a', 0, { messageId: 'm', senderSeq: 1, at });
  come({ clientId: 'a', messageId: 'm', seq: 1 });
  answers.settle('a', 0, { messageId: 'm', senderSeq: 1, at });
  assert.deepEqual(log, ['reach 1', 'sent a m 1', 'sent a m 1']);
  answers.expect('a');
  answers.settle('a', 0, { messageId: 'm', senderSeq: 1, at });
  assert.deepEqual(log.slice(3), ['sent a m 1']);
});

test('a recall that was stored under another id is answered right behind that one', () => {
  const { answers, log, come } = setUp();
  answers.expect('second');
  answers.settle('second', 0, { messageId: 'm', clientId: 'first', senderSeq: 2, at });
  come({ clientId: 'other', messageId: 'n', seq: 1 });
  come({ clientId: 'first', messageId: 'r', recalls: 'm', seq: 2 });
  assert.deepEqual(log, ['reach 2', 'other 1', 'other 2', 'sent second m 2']);
});

test('what was stored in the inbox before is answered when it comes in this one', () => {
  const { answers, shown, log, come } = setUp();
  answers.expect('a');
  const { run } = answers;
  Object.assign(shown, { run: 1, cursor: 9 });
  answers.settle('a', run, { messageId: 'm', senderSeq: 4, at });
  assert.deepEqual(log, []);
  come({ clientId: 'a', messageId: 'm', seq: 12 });
  assert.deepEqual(log, ['sent a m 12']);
});

test('what was refused is answered no more', () => {
  const { answers, log, come } = setUp();
  answers.expect('a');
  answers.take('a');
  come({ clientId: 'a', messageId: 'm', seq: 1 });
  assert.deepEqual(log, ['other 1']);
});
