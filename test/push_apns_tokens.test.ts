// The provider token of APNs, of which Apple wants to see one, and not another one for 20 minutes; and the credentials it
// is made of.

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { decodeJwt } from 'jose';
import { faultsOfApns } from '../src/push/apns_credentials.ts';
import { createSharedTokens } from '../src/push/apns_tokens.ts';
import { apnsStage, credentials, sandboxTarget, target } from './push/apns_stage.ts';
import { refuseWith } from './push/apns_stand_in.ts';
import { notificationOf } from './push/contract.ts';

test('one token serves half an hour of both environments, and is never as old as Apple allows', async (t) => {
  const { provider, production, sandbox, clock } = await apnsStage(t);
  const tokens = new Set<unknown>();
  for (let minute = 0; minute < 150; minute += 1) {
    assert.equal((await provider.send(notificationOf(), target)).kind, 'sent');
    assert.equal((await provider.send(notificationOf(), sandboxTarget)).kind, 'sent');
    const jwt = String(production.taken.at(-1)!.headers['authorization']).slice('bearer '.length);
    // Whoever's clock is a little behind finds none of the future.
    assert.ok(decodeJwt(jwt).iat! <= clock.now().getTime() / 1_000 - 300);
    clock.forward(1);
  }
  for (const { headers } of [...production.taken, ...sandbox.taken]) tokens.add(headers['authorization']);
  assert.equal(tokens.size, 6);
  // Whoever else makes one makes it for the same moments.
  for (const token of tokens) assert.equal(decodeJwt(String(token).slice('bearer '.length)).iat! % 1_800, 0);
});

test('all who share tokens show Apple one text, whose moment is the same for all anyway', async (t) => {
  const sharedTokens = createSharedTokens();
  const { open, production, clock } = await apnsStage(t, { sharedTokens });
  const processes = [open(), open(), open()];
  const sendAll = async () =>
    (await Promise.all(processes.map((each) => each.send(notificationOf(), target)))).map(({ kind }) => kind);
  assert.deepEqual(await sendAll(), ['sent', 'sent', 'sent']);
  clock.forward(30);
  assert.deepEqual(await sendAll(), ['sent', 'sent', 'sent']);
  assert.equal(production.tokens(), 2);

  // One on its own makes another text, which the stand-in counts as Apple may: only its moment is the same.
  const outcome = await open({ sharedTokens: createSharedTokens() }).send(notificationOf(), target);
  assert.ok(outcome.kind === 'retry' && outcome.afterMs === 20 * 60_000);
});

test('who claims the ids of another app without its key shares no token with it', async (t) => {
  const names: string[] = [];
  const shared = createSharedTokens();
  const sharedTokens: typeof shared = {
    get(name, sign) {
      names.push(name);
      return shared.get(name, sign);
    },
  };
  const { open, provider } = await apnsStage(t, { sharedTokens });
  assert.equal((await provider.send(notificationOf(), target)).kind, 'sent');
  const stranger = open({}, { privateKey: pemOf('prime256v1') });
  const outcome = await stranger.send(notificationOf(), target);
  assert.ok(outcome.kind === 'failed' && outcome.isCredential);
  assert.match(outcome.reason, /check keyId, teamId and privateKey/);
  assert.equal(new Set(names).size, 2);
});

test('a token that could not be had is asked for again', async () => {
  const shared = createSharedTokens();
  await assert.rejects(shared.get('a', () => Promise.reject(new Error('no'))));
  assert.equal(await shared.get('a', () => Promise.resolve('text')), 'text');
  assert.equal(await shared.get('a', () => Promise.resolve('other')), 'text');
});

test('a token that Apple calls too old is renewed once, for all that were sent with it', async (t) => {
  const { provider, production } = await apnsStage(t);
  const seen = new Set<unknown>();
  production.act((stream, session, headers) => {
    seen.add(headers['authorization']);
    const [oldest] = seen;
    const [status, reason]: [number, string] =
      headers['authorization'] === oldest ? [403, 'ExpiredProviderToken'] : [429, 'TooManyRequests'];
    refuseWith(status, reason)(stream, session, headers);
  });
  const outcomes = await Promise.all(
    Array.from({ length: 5 }, () => provider.send(notificationOf(), target)),
  );
  for (const outcome of outcomes) assert.match(String('reason' in outcome && outcome.reason), /^throttled/);
  assert.equal(seen.size, 2);
});

test('when Apple calls the renewed token too old as well, no third one is made until its time has come', async (t) => {
  const { provider, production, clock } = await apnsStage(t);
  production.act(refuseWith(403, 'ExpiredProviderToken'));
  for (let tries = 0; tries < 3; tries += 1) {
    const outcome = await provider.send(notificationOf(), target);
    assert.ok(outcome.kind === 'retry');
    assert.match(outcome.reason, /^clock: .*the clock of this server is wrong/);
  }
  assert.equal(production.asked(), 4);
  clock.forward(30);
  production.act(undefined);
  assert.equal((await provider.send(notificationOf(), target)).kind, 'sent');
});

test('a token that Apple throttles is kept', async (t) => {
  const { provider, production } = await apnsStage(t);
  await provider.send(notificationOf(), target);
  production.act(refuseWith(429, 'TooManyProviderTokenUpdates'), undefined);
  assert.equal((await provider.send(notificationOf(), target)).kind, 'retry');
  assert.equal((await provider.send(notificationOf(), target)).kind, 'sent');
  assert.equal(production.tokens(), 1);
});

for (const [field, value] of [
  ['keyId', 'ZZZZZZZZZZ'],
  ['teamId', 'ZZZZZZZZZZ'],
  ['bundleId', 'com.customer.other'],
] as const)
  test(`a wrong ${field} is told to be wrong with the credential, in a send and in a check`, async (t) => {
    const { open } = await apnsStage(t);
    const provider = open({}, { [field]: value });
    const outcome = await provider.send(notificationOf(), target);
    assert.ok(outcome.kind === 'failed' && outcome.isCredential);
    assert.ok(outcome.reason.includes(field));
    assert.equal(await provider.check(), outcome.reason);
  });

test('what is no private key of P-256 in PKCS#8 is refused in words that say what it is instead', () => {
  const { privateKey } = credentials;
  const faultOf = (pem: string) => faultsOfApns({ ...credentials, privateKey: pem });
  assert.deepEqual(faultOf(privateKey), []);
  assert.deepEqual(faultOf(`\n${privateKey.replaceAll('\n', '\r\n')}\n`), []);
  for (const [pem, words] of [
    ['', /whole text of the \.p8 file/],
    [privateKey.split('\n').slice(1, -1).join('\n'), /whole text of the \.p8 file/],
    [privateKey.replaceAll('\n', ' ').slice(0, -30), /whole text of the \.p8 file/],
    [privateKey.replace('PRIVATE KEY', 'CERTIFICATE'), /not a certificate/],
    [privateKey.replace(/M[A-Za-z0-9+/]{40}/, 'x'), /is not one/],
    [pemOf('secp384r1'), /P-256/],
    [generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }), /P-256/],
  ] as [string, RegExp][]) {
    const [{ pointer, detail } = assert.fail(pem)] = faultOf(pem);
    assert.equal(pointer, '/privateKey');
    assert.match(detail, words);
  }
});

function pemOf(namedCurve: string): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve });
  return privateKey.export({ type: 'pkcs8', format: 'pem' });
}
