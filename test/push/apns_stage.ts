// APNs as the tests meet it: one app with a key of its own, and a stand-in for each environment.

import { Readable } from 'node:stream';
import type { TestContext } from 'node:test';
import { exportPKCS8, generateKeyPair } from 'jose';
import { createApns, type ApnsOptions } from '../../src/push/apns.ts';
import type { ApnsCredentials } from '../../src/push/apns_credentials.ts';
import type { Target } from '../../src/push/contract.ts';
import { refuseWith, reply, startApns, type Act, type ApnsStandIn } from './apns_stand_in.ts';
import type { Conduct } from './contract.ts';

export const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });

export const credentials: ApnsCredentials = {
  keyId: 'ABC123DEFG',
  teamId: 'DEF123GHIJ',
  bundleId: 'com.customer.chat',
  privateKey: await exportPKCS8(privateKey),
};

export const target: Target = { token: '0123456789abcdef'.repeat(4), environment: 'production' };
export const sandboxTarget: Target = { ...target, environment: 'sandbox' };

/** A clock that stands still until it is moved. */
export function createClock() {
  let at = new Date('2026-03-01T12:10:00Z').getTime();
  return {
    now: () => new Date(at),
    forward(minutes: number): void {
      at += minutes * 60_000;
    },
  };
}

export async function apnsStage(
  t: TestContext,
  options: Partial<ApnsOptions> = {},
  { streamsAtFirst = 1 } = {},
) {
  const clock = createClock();
  const account = { ...credentials, publicKey };
  const [production, sandbox] = await Promise.all([
    startApns(account, { now: clock.now, streamsAtFirst }),
    startApns(account, { now: clock.now, streamsAtFirst }),
  ]);
  const origins = { production: production.origin, sandbox: sandbox.origin };
  const open = (more: Partial<ApnsOptions> = {}, changes: Partial<ApnsCredentials> = {}) => {
    const provider = createApns(
      { ...credentials, ...changes },
      { now: clock.now, origins, ...options, ...more },
    );
    t.after(() => provider.close());
    return provider;
  };
  t.after(() => Promise.all([production.close(), sandbox.close()]));
  return { clock, production, sandbox, open, provider: open() };
}

export function actOf(conduct: Conduct, { cut }: ApnsStandIn): Act | undefined {
  const acts: Record<Conduct, Act | undefined> = {
    accept: undefined,
    gone: refuseWith(410, 'Unregistered', Date.parse('2026-02-28T10:00:00Z')),
    throttled: refuseWith(429, 'TooManyRequests'),
    'throttled for 7 s': reply({
      status: 429,
      body: { reason: 'TooManyRequests' },
      headers: { 'retry-after': '7' },
    }),
    'credential refused': refuseWith(403, 'InvalidProviderToken'),
    broken: reply({ status: 500, body: '<h1>Oh</h1>' }),
    silent: () => undefined,
    cut(stream, session) {
      stream.respond({ ':status': 200 });
      stream.write('{"reas', () => cut(session));
    },
    nonsense: reply({ status: 400, body: '<h1>Bad gateway</h1>' }),
    endless(stream) {
      stream.respond({ ':status': 200 });
      Readable.from(endless()).pipe(stream);
    },
  };
  return acts[conduct];
}

function* endless(): Generator<string> {
  for (;;) yield 'x'.repeat(1_000);
}
