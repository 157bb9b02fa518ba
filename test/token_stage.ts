// The stage that issues and verifies tokens, with the keys of a service, for tests that ask it thousands of times.

import assert from 'node:assert/strict';
import { ImidError } from '../src/errors.ts';
import type { AppId, ImId } from '../src/ids.ts';
import { createBox } from '../src/tokens/box.ts';
import { createKeys } from '../src/tokens/keys.ts';
import type { SigningAlg } from '../src/tokens/signing.ts';
import { createTokens } from '../src/tokens/tokens.ts';
import { startService } from './harness.ts';
import { SECRET } from './logs.ts';

export type Stage = Awaited<ReturnType<typeof openStage>>;

export const base64url = (text: string | Uint8Array): string =>
  Buffer.from(text as string).toString('base64url');

export async function openStage(alg: SigningAlg) {
  const service = await startService({ app: { signingAlg: alg } });
  const box = createBox(SECRET);
  const keys = await createKeys({ database: service.database, box, alg, onChange() {}, log() {} });
  const signer = keys.current();
  const looked: string[] = [];
  const options = {
    keys: {
      current: keys.current,
      find: (kid: string) => {
        looked.push(kid);
        return keys.find(kid);
      },
    },
    revocations: { isRevoked: () => false, requireSight() {} },
    issuer: 'https://imid.example',
    clock: service.database.clock,
  };
  const tokens = createTokens(options);
  const { token: good } = await tokens.issue({ appId: 1 as AppId, imId: '1:bob' as ImId, deviceId: 'phone' });
  const [header, payload, signature] = good.split('.') as [string, string, string];
  const decode = (part: string): string => Buffer.from(part, 'base64url').toString();

  return {
    service,
    alg,
    kid: signer.kid,
    options,
    tokens,
    /** The kids that keys were looked for by. */
    looked,
    good,
    parts: { header, payload, signature },
    header: decode(header),
    payload: decode(payload),
    /** Signs whatever text with the service's own key. */
    async sign(headerText: string | Uint8Array, payloadText: string | Uint8Array): Promise<string> {
      const signed = `${base64url(headerText)}.${base64url(payloadText)}`;
      const how = alg === 'EdDSA' ? 'Ed25519' : { name: 'ECDSA', hash: 'SHA-256' };
      const bytes = await crypto.subtle.sign(how, signer.privateKey, Buffer.from(signed));
      return `${signed}.${base64url(new Uint8Array(bytes))}`;
    },
    async refuse(token: string, what: string, code = 'unauthorized'): Promise<void> {
      await assert.rejects(
        tokens.verify(token),
        (error) => error instanceof ImidError && error.code === code,
        what,
      );
    },
  };
}
