// The checker of the fault tests finds what is planted: in evidence made by hand, and in what real traffic left behind.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import type { Evidence } from './evidence.ts';
import { startService, type Json, type Service } from './harness.ts';
import { startLoad, type Load } from './load.ts';
import { seed } from './random.ts';
import { findViolations } from './verdict.ts';

const COUNT = 4;
const numbers = Array.from({ length: COUNT }, (_, n) => n);

const contentOf = (n: number): Json => ({ id: `m${n}`, text: `text ${n}` });
const messageOf = (n: number, seq = n + 1): Json => ({
  seq,
  messageId: `id-${n}`,
  from: { uid: 'alice' },
  to: { uid: 'bob' },
  content: contentOf(n),
  at: `2026-01-01T00:00:0${n}.000Z`,
});
const welcome = (seq: number): Json => ({
  in: { type: 'welcome', epoch: 'e', resumed: true, seq, acked: 0 },
});
const send = (n: number): Json => ({
  out: { type: 'send', id: `m${n}`, to: { uid: 'bob' }, content: contentOf(n) },
});
const sent = (n: number, seq = n + 1): Json => {
  const { messageId, at } = messageOf(n);
  return { in: { type: 'sent', id: `m${n}`, seq, messageId, at } };
};
const failed = (n: number, code = 'unavailable'): Json => ({
  in: { type: 'error', id: `m${n}`, code, detail: 'no' },
});
const shown = (n: number, seq = n + 1): Json => ({ in: { type: 'message', ...messageOf(n, seq) } });

/** alice sends bob m0 to m3; bob connects twice. Everything can be changed. */
function createWorld() {
  const alice: Json = {
    after: 0,
    frames: [welcome(0), ...numbers.map(send), ...numbers.map((n) => sent(n))],
  };
  const bobs: Json[] = [
    { after: 0, closed: 1006, frames: [welcome(0), shown(0), shown(1)] },
    { after: 2, frames: [welcome(2), shown(2), shown(3)] },
  ];
  const calls: Json[] = [];
  const inboxes = { alice: numbers.map((n) => messageOf(n)), bob: numbers.map((n) => messageOf(n)) };
  const evidence: Evidence = {
    witnesses: [
      { uid: 'alice', device: 'phone', connections: [alice] },
      { uid: 'bob', device: 'tablet', connections: bobs },
    ],
    backends: [{ name: 'backend', calls }],
    inboxes: new Map(Object.entries(inboxes)),
  };
  return {
    evidence,
    alice,
    frames: alice.frames as Json[],
    bobs,
    first: bobs[0].frames as Json[],
    second: bobs[1].frames as Json[],
    calls,
    inboxes,
  };
}
type World = ReturnType<typeof createWorld>;

const ALLOWED: Record<string, (world: World) => void> = {
  'nothing that is wrong': () => {},
  'an answer to a repeat': ({ frames }) => frames.push(send(1), sent(1)),
  'a message that was not answered and is not stored': ({ frames }) => frames.push(send(4)),
  'one that was not answered and is stored': ({ frames }) => (
    (frames[8] = shown(3)),
    frames.splice(5, 0, failed(3))
  ),
  'one that failed, behind what was sent after it': ({ frames, inboxes, second }) => {
    frames.splice(5, 4, failed(2), sent(0), sent(1), sent(3, 3), send(2), sent(2, 4));
    for (const inbox of Object.values(inboxes)) inbox.splice(2, 2, messageOf(3, 3), messageOf(2, 4));
    second.splice(1, 2, shown(3, 3), shown(2, 4));
  },
  'a connection that was refused for now, or closed for a restart': ({ bobs, alice }) => {
    bobs.splice(1, 0, { after: 2, frames: [], refused: 503, closed: 1006 });
    alice.closed = 1001;
  },
  'a call that was repeated': ({ calls, inboxes, second, frames }) => {
    const request = { id: 'm4', from: { uid: 'alice' }, to: { uid: 'bob' }, content: contentOf(4) };
    const { messageId, at, seq } = messageOf(4);
    calls.push({ request }, { request, status: 503 }, { request, status: 201, body: { messageId, at, seq } });
    for (const inbox of Object.values(inboxes)) inbox.push(messageOf(4));
    for (const each of [frames, second]) each.push(shown(4));
  },
};
for (const [what, change] of Object.entries(ALLOWED))
  test(`allowed is ${what}`, () => {
    const world = createWorld();
    change(world);
    assert.deepEqual(findViolations(world.evidence), []);
  });

const PLANTED: Record<string, [(world: World) => void, RegExp]> = {
  'a loss': [({ inboxes }) => inboxes.bob.pop(), /m3 was answered sent and is not in the inbox of bob/],
  'a loss in both inboxes': [
    ({ inboxes, second }) => (inboxes.bob.pop(), inboxes.alice.pop(), second.pop()),
    /m3 was answered sent and is not in the inbox of alice/,
  ],
  'a loss of what a backend was answered': [
    ({ calls }) => {
      const request = { id: 'm4', from: { uid: 'alice' }, to: { uid: 'bob' }, content: contentOf(4) };
      calls.push({ request, status: 201, body: { messageId: 'id-4', seq: 5, at: '' } });
    },
    /m4 was answered sent and is not in the inbox of bob/,
  ],
  'half of a message that was not answered': [
    ({ frames, inboxes }) => (frames.pop(), inboxes.alice.pop()),
    /m3 is not in the inbox of alice, but in the other one/,
  ],
  'a repeat': [({ inboxes }) => inboxes.bob.push(messageOf(1, 5)), /m1 stands 2 times in the inbox of bob/],
  'a reorder': [
    ({ inboxes }) => inboxes.bob.splice(1, 2, messageOf(2, 2), messageOf(1, 3)),
    /inbox of bob, seq 3: m1 stands behind m2, which was sent later/,
  ],
  'a reorder on another connection, without an error': [
    ({ evidence, frames, inboxes, second }) => {
      const [{ connections }] = evidence.witnesses as Json;
      frames.splice(3, 6, send(2), send(3), sent(0), sent(1));
      connections.push({ after: 2, frames: [welcome(2), send(2), send(3), sent(3, 3), sent(2, 4)] });
      for (const inbox of Object.values(inboxes)) inbox.splice(2, 2, messageOf(3, 3), messageOf(2, 4));
      second.splice(1, 2, shown(3, 3), shown(2, 4));
    },
    /inbox of alice, seq 4: m2 stands behind m3/,
  ],
  'a gap': [({ inboxes }) => (inboxes.bob[3].seq = 5), /inbox of bob, seq 5: follows 3/],
  'an inbox that begins at 0': [
    ({ inboxes }) => inboxes.bob.forEach((message) => (message.seq -= 1)),
    /inbox of bob, seq 0: follows 0/,
  ],
  'another content': [
    ({ inboxes }) => (inboxes.bob[2].content.text = 'else'),
    /inbox of bob, seq 3: m2 was sent with another content/,
  ],
  'another sender': [
    ({ inboxes }) => (inboxes.bob[2].from = { uid: 'eve' }),
    /inbox of bob, seq 3: m2 was sent by alice to bob/,
  ],
  'a message of nobody': [
    ({ inboxes }) => inboxes.bob.push({ ...messageOf(4), content: 'boo' }),
    /inbox of bob, seq 5: nobody sent "boo" here/,
  ],
  'a message of others': [
    ({ evidence }) => (evidence.inboxes as Map<string, Json[]>).set('carol', [messageOf(0)]),
    /inbox of carol, seq 1: nobody sent .*m0/,
  ],
  'one messageId for two': [
    ({ inboxes }) => Object.values(inboxes).forEach((inbox) => (inbox[3].messageId = 'id-2')),
    /m3 has the messageId of m2/,
  ],
  'another time in one inbox': [
    ({ inboxes }) => (inboxes.bob[3].at = ''),
    /m3 has another messageId or time in one inbox/,
  ],
  'an answer with another seq': [
    ({ frames }) => (frames[8] = sent(3, 3)),
    /m3 was answered .*"seq":3.* stands .*"seq":4/,
  ],
  'a rewound seq': [
    ({ bobs, second }) => bobs.push({ after: 4, frames: [welcome(2), shown(2, 5)] }) && second,
    /bob\/tablet, connection 2: resuming behind 4 failed/,
  ],
  'a resume that is refused': [
    ({ second }) => (second[0].in.resumed = false),
    /connection 1: resuming behind 2 failed/,
  ],
  'another epoch': [({ second }) => (second[0].in.epoch = 'f'), /bob\/tablet: the epoch changed/],
  'a seq that is shown twice': [({ second }) => second.splice(2, 0, shown(2)), /message m2 3 comes again/],
  'a seq that is left out': [({ second }) => second.splice(1, 1), /message m3 4 comes where 3 was due/],
  'a gap across a resume': [
    ({ bobs, second }) => ((bobs[1].after = 3), second.splice(1, 1)),
    /connection 1: the client resumed behind 3, and had seen 2/,
  ],
  'what was never shown': [({ second }) => second.pop(), /bob\/tablet: was shown 3 of the 4/],
  'what is shown otherwise than it is stored': [
    ({ second }) => (second[1].in.content = contentOf(3)),
    /message m3 3 is stored as .*m2/,
  ],
  'what is shown under another messageId': [
    ({ second }) => (second[1].in.messageId = 'x'),
    /message m2 3 is stored as .*id-2/,
  ],
  'a message where an answer was due': [
    ({ frames }) => frames.splice(8, 1, shown(3)),
    /message m3 4 is what this very connection has sent/,
  ],
  'an answer to nothing': [({ frames }) => frames.push(sent(3)), /sent m3 4 answers what was not sent/],
  'an answer ahead of its turn': [
    ({ frames }) => frames.splice(7, 2, sent(3), sent(2)),
    /sent m3 4 comes where 3 was due/,
  ],
  'an error that does not pass': [
    ({ frames }) => frames.push(send(4), failed(4, 'invalid_request')),
    /error m4 invalid_request: no/,
  ],
  'an ack of nobody': [
    ({ first, second }) => {
      first.push({ out: { type: 'ack', seq: 1 } });
      second[0].in.acked = 2;
    },
    /connection 1: the welcome has 2 acked, and only 1 was/,
  ],
  'no welcome': [({ second }) => second.shift(), /message m2 3 comes before the welcome/],
  'a second welcome': [({ second }) => second.push(welcome(4)), /welcome 4 comes again/],
  'being told not to come back': [({ bobs }) => (bobs[0].closed = 4509), /closed with 4509/],
  'a token that is refused': [
    ({ bobs }) => bobs.splice(1, 0, { after: 2, frames: [], refused: 401 }),
    /refused with 401/,
  ],
};
for (const [what, [plant, line]] of Object.entries(PLANTED))
  test(`found is ${what}`, () => {
    const world = createWorld();
    plant(world);
    assert.match(findViolations(world.evidence).join('\n'), line);
  });

describe('in what real traffic left behind', () => {
  let service: Service;
  let load: Load;
  let evidence: Evidence;
  before(async () => {
    service = await startService();
    load = await startLoad({ urls: () => [service.url], seed });
    await load.flows(20);
    evidence = await load.finish();
  });

  /** Found are only those that every process can be told of: all rows are put back in the end. */
  async function plant(sql: string): Promise<string[]> {
    const { pool } = service.database;
    await pool.query('create table kept as select * from message');
    await pool.query(sql);
    const lines = findViolations(await load.readEvidence());
    await pool.query('delete from message');
    await pool.query('insert into message select * from kept');
    await pool.query('drop table kept');
    return lines;
  }
  const MIDDLE = `select id from message where sender_id <> recipient_id order by at, id
    offset (select count(*) / 2 from message where sender_id <> recipient_id) limit 1`;

  test('nothing is found as it is', async () => {
    assert.deepEqual(findViolations(evidence), []);
    assert.deepEqual(await plant('select'), []);
  });

  test('a row that is deleted is a loss', async () => {
    const lines = await plant(`delete from message where id = (${MIDDLE})`);
    assert.match(lines.join('\n'), /was answered sent and is not in the inbox of u/);
    assert.match(lines.join('\n'), /inbox of u\d, seq \d+: follows/);
  });

  test('the last row of all that is deleted is a loss', async () => {
    const lines = await plant(
      'delete from message where id = (select id from message order by at desc, id desc limit 1)',
    );
    assert.match(lines.join('\n'), /was answered sent and is not in the inbox of u/);
  });

  test('a row that is doubled is a repeat', async () => {
    const lines = await plant(`
      insert into message select app_id, gen_random_uuid(), sender_id,
        (select last_seq + 1 from identity i where i.id = sender_id), recipient_id,
        (select last_seq + 1 from identity i where i.id = recipient_id), client_id, part + 1, content, push, at
      from message where id = (${MIDDLE})`);
    assert.match(lines.join('\n'), /stands 2 times in the inbox of u/);
  });

  test('two rows that change places are a reorder', async () => {
    const lines = await plant(`
      with two as (
        select min(recipient_seq) as low, max(recipient_seq) as high, recipient_id from message
        where sender_id <> recipient_id and client_id ~ '^u./a/'
        group by sender_id, recipient_id having count(*) > 1 order by sender_id, recipient_id limit 1
      ), moved as (
        delete from message m using two where m.recipient_id = two.recipient_id and recipient_seq in (low, high)
        returning m.*, low + high - recipient_seq as seq
      )
      select set_config('planted.rows', (select jsonb_agg(moved)::text from moved), false);
      insert into message select app_id, id, sender_id, sender_seq, recipient_id, seq, client_id, part, content, push, at
      from jsonb_to_recordset(current_setting('planted.rows')::jsonb) as t (app_id bigint, id uuid, sender_id bigint,
        sender_seq bigint, recipient_id bigint, seq bigint, client_id text, part integer, content text, push text,
        at timestamptz)`);
    assert.match(lines.join('\n'), /stands behind u\d\/a\/\d+, which was sent later/);
  });

  test('another content is found', async () => {
    const lines = await plant(`update message set content = '"boo"' where id = (${MIDDLE})`);
    assert.match(lines.join('\n'), /nobody sent "boo" here/);
  });
});
