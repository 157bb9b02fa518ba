// Judges traffic: every message that was answered `sent` stands in two inboxes, once, in its sender's order, and came to
// every device of both; every other was refused as the design says; everybody was shown in the viewer's form.

import assert from 'node:assert/strict';
import type { Address } from '../src/identity/schemes.ts';
import type { Scheme } from '../src/ids.ts';
import { eventually, type Json, type Tenant } from './harness.ts';
import type { Device, Names, Send, Traffic, User } from './traffic.ts';

/** Where a message stands. */
interface Copy {
  user: User;
  message: Json;
}

/** Waits until everything has come, and checks all of it. The app must use both schemes, so that all can be read. */
export async function checkArrivals(traffic: Traffic): Promise<void> {
  const { app, names, sends } = traffic;
  const copies = sends.map((): Copy[] => []);
  for (const [user, { name }] of names.now) {
    const inbox = await readInbox(app, user.imId ?? `${app.appId}:${name}`);
    checkOrder(inbox, sends, `inbox of ${name}`);
    for (const message of inbox) copies[message.content]!.push({ user, message });
    for (const device of user.devices) {
      await eventually(() => device.shown.length >= inbox.length, `the whole inbox of ${name}`);
      checkDevice(device, inbox, sends);
    }
  }
  const recipients = sends.map((send, n) => checkSend(send, n, app.appId, copies[n]!));
  checkTurns(traffic, recipients);
  for (const { devices } of traffic.users)
    for (const device of devices) checkForms(traffic, device, recipients);
}

async function readInbox(app: Tenant, imId: string): Promise<Json[]> {
  const inbox: Json[] = [];
  for (;;) {
    const path = `/messages?imId=${encodeURIComponent(imId)}&limit=1000&after=${inbox.length}`;
    const { status, body } = await app.call('GET', path);
    assert.equal(status, 200, JSON.stringify(body));
    inbox.push(...body.items);
    if (body.items.length < 1000) return inbox;
  }
}

/** Seqs from 1 without a gap, and what each device sent in the order in which it was sent. */
function checkOrder(inbox: Json[], sends: readonly Send[], what: string): void {
  assert.deepEqual(
    inbox.map((message) => message.seq),
    inbox.map((_, i) => i + 1),
    what,
  );
  const last = new Map<Device, number>();
  for (const { content } of inbox) {
    const { device } = sends[content]!;
    assert.ok((last.get(device) ?? -1) < content, `${what}: ${content} is out of order`);
    last.set(device, content);
  }
}

/** Checks the answer and where the message stands; gives back whom it went to, if it was sent. */
function checkSend(send: Send, n: number, appId: string, copies: readonly Copy[]): User | undefined {
  const allowed = new Set(
    send.names.flatMap((names) =>
      send.schemes.flatMap((schemes) =>
        send.senderSchemes.map((sender) => route(appId, schemes, names, sender, send.address)),
      ),
    ),
  );
  const what = `message ${n} to ${JSON.stringify(send.address)}: ${JSON.stringify(send.answer)}`;
  if (send.answer.type !== 'sent') {
    assert.ok(allowed.has(send.answer.code), what);
    assert.equal(copies.length, 0, what);
    return undefined;
  }
  const own = copies.filter(({ user }) => user === send.by);
  const others = copies.filter(({ user }) => user !== send.by);
  assert.deepEqual(
    own.map(({ message }) => message.seq),
    [send.answer.seq],
    `${what} in the sender's inbox`,
  );
  assert.ok(others.length <= 1, `${what} stands more than once`);
  for (const { message } of copies) assert.equal(message.messageId, send.answer.messageId, what);
  const { user } = others[0] ?? own[0]!;
  assert.ok(allowed.has(user), `${what} went to somebody else`);
  return user;
}

/** Whom an address means, or the code it is refused with: the table of the design. */
function route(
  appId: string,
  schemes: readonly Scheme[],
  names: Names,
  sender: Scheme,
  address: Address,
): User | string | undefined {
  const { uid, userId, imId = '' } = address;
  const isRegistered = userId !== undefined || imId.startsWith('im_');
  if (!schemes.includes(sender) || !schemes.includes(isRegistered ? 'registered' : 'composed'))
    return 'scheme_disabled';
  const name = uid ?? userId ?? imId.slice(`${appId}:`.length);
  for (const [user, called] of names)
    if (
      isRegistered
        ? called.isRegistered && (user.imId === imId || called.name === userId)
        : called.name === name
    )
      return user;
  return isRegistered ? 'unknown_recipient' : undefined;
}

/** An address that has gone over to its next holder does not go back. */
function checkTurns({ sends }: Traffic, recipients: readonly (User | undefined)[]): void {
  const turns = new Map<Device, Map<string, User[]>>();
  for (const [n, { device, address }] of sends.entries()) {
    const to = recipients[n];
    if (!to) continue;
    const ofDevice = turns.get(device) ?? new Map<string, User[]>();
    turns.set(device, ofDevice);
    const key = JSON.stringify(address);
    const past = ofDevice.get(key) ?? [];
    ofDevice.set(key, past);
    if (past.at(-1) === to) continue;
    assert.ok(!past.includes(to), `${key} went back to a former holder`);
    past.push(to);
  }
}

/** On an open connection: the whole inbox, every seq once, in order; `sent` where it was sent from, `message` elsewhere. */
function checkDevice(device: Device, inbox: Json[], sends: readonly Send[]): void {
  assert.equal(device.client.closed, undefined);
  assert.deepEqual(
    device.shown.map(({ frame }) => [frame.seq, frame.messageId, frame.content ?? frame.id]),
    inbox.map(({ seq, messageId, content }) => [
      seq,
      messageId,
      sends[content]!.device === device ? `m-${content}` : content,
    ]),
  );
}

/** Everybody as called when the message was sent or later, in a form of the viewer's scheme, and never back again. */
function checkForms(traffic: Traffic, device: Device, recipients: readonly (User | undefined)[]): void {
  const { sends, names, app } = traffic;
  const lastSeen = new Map<User, number>();
  for (const { frame, schemes, lastNames } of device.shown) {
    if (frame.type !== 'message') continue;
    const send = sends[frame.content]!;
    const parties = [
      [send.by, frame.from],
      [recipients[frame.content]!, frame.to],
    ] as const;
    for (const [user, shown] of parties) {
      const first = Math.max(send.firstNames, lastSeen.get(user) ?? 0);
      const version = names.versions.findIndex((_, i) => {
        const called = i >= first && i <= lastNames && names.versions[i]!.get(user);
        if (!called) return false;
        const imId = called.isRegistered ? user.imId : `${app.appId}:${called.name}`;
        return schemes.some((scheme) =>
          scheme === 'composed' ? shown.uid === called.name : shown.imId === imId,
        );
      });
      assert.ok(version >= 0, `${JSON.stringify(frame)} shows to ${schemes.join()} what it should not`);
      assert.equal(Object.keys(shown).length, 1);
      lastSeen.set(user, version);
    }
  }
}
