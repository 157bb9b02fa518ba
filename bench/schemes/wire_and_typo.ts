// What one message is on the wire in each kind of app; and what comes of one that is sent to a misspelt address.

import type { Point } from './points.ts';
import { kinds, measureRows, type Kind, type Stage, type Stand } from './stage.ts';
import { openTalker, type Address, type Talker } from './talkers.ts';

const CONTENT = { text: 'Is the boat afloat? Then we sail on Sunday, with the dog.' };

interface Frame {
  type: string;
  code?: string;
}

/** Different for each, and of one length, since a repeated id stores nothing. */
let nextId = 1000;

export async function wire(stage: Stage): Promise<Point[]> {
  const sendFrame: Partial<Record<Kind, number>> = {};
  const messageFrame: Partial<Record<Kind, number>> = {};
  for (const kind of kinds) {
    using from = await openTalker(stage[kind], 0);
    using to = await openTalker(stage[kind], 1);
    const [before, beforeAtOther] = [from.wire(), to.wire()];
    const arrived = nextFrame(to);
    await say(from, to.address);
    await arrived;
    sendFrame[kind] = from.wire().sent - before.sent;
    messageFrame[kind] = to.wire().received - beforeAtOther.received;
  }
  return [
    { metric: 'sendFrame', users: undefined, values: sendFrame },
    { metric: 'messageFrame', users: undefined, values: messageFrame },
  ];
}

/** What the sender is answered for each way to address somebody, and what is stored for whom nobody is. */
export async function typo(stage: Stage): Promise<Record<Kind, string>> {
  const words = {} as Record<Kind, string>;
  for (const kind of kinds) words[kind] = await misspell(stage[kind]);
  return words;
}

async function misspell(stand: Stand): Promise<string> {
  using from = await openTalker(stand, 0);
  using to = await openTalker(stand, 1);
  const addresses: Record<Kind, Address[]> = {
    composed: [{ uid: misspelt(to.name) }],
    registered: [{ imId: misspelt(to.imId) }, { userId: misspelt(to.name) }],
    both: [{ uid: misspelt(to.name) }, { imId: misspelt(to.imId) }, { userId: misspelt(`${to.name}0`) }],
  };
  /** Ways to address somebody, by what came of it. */
  const ways = new Map<string, string[]>();
  for (const address of addresses[stand.kind]) {
    const { rows: before } = await measureRows(stand);
    const { type, code } = await say(from, address);
    const { rows: after } = await measureRows(stand);
    const inboxes = after === before ? '' : `, ${after - before} inbox for nobody`;
    const outcome = `\`${type === 'sent' ? type : code}\`${inboxes}`;
    ways.set(outcome, [...(ways.get(outcome) ?? []), `\`${Object.keys(address)[0]}\``]);
  }
  return [...ways].map(([outcome, by]) => `${by.join(', ')}: ${outcome}`).join('; ');
}

/** The last two letters change places. */
function misspelt(text: string): string {
  return text.replace(/(.)(.)$/, (_, last: string, very: string) =>
    last === very ? `${last}0` : very + last,
  );
}

function say(from: Talker, to: Address): Promise<Frame> {
  const answer = nextFrame(from);
  from.send(to, `wire-${nextId++}`, CONTENT);
  return answer;
}

function nextFrame(talker: Talker): Promise<Frame> {
  const { promise, resolve } = Promise.withResolvers<Frame>();
  talker.onFrame = (text) => resolve(JSON.parse(text) as Frame);
  return promise;
}
