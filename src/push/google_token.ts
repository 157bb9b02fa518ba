// An access token of a Google service account, for an assertion that its key signs (RFC 7523).

import { createPrivateKey } from 'node:crypto';
import { importPKCS8, SignJWT } from 'jose';
import { isToken, type AccessToken } from './access_tokens.ts';
import type { Asking } from './asking.ts';
import type { Outcome } from './contract.ts';
import { outcomeByStatus, parseObject, refuseCredential } from './outcomes.ts';

const SCOPE = 'https://www.googleapis.com/auth/firebase.messaging';
const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
const ASSERTION_SECONDS = 3_600;
const RSA_MIN_BITS = 2_048;
const FAULT_OF_KEY =
  'must be an RSA key of at least 2048 bits as PKCS #8 in PEM, with its line breaks, as in the file from Google';

export interface GoogleAccount {
  client_email: string;
  private_key: string;
  private_key_id?: string;
}

export async function fetchGoogleToken(
  { asking, now }: { asking: Asking; now(): Date },
  endpoint: string,
  account: GoogleAccount,
): Promise<AccessToken | Outcome> {
  const assertion = await signAssertion(account, endpoint, now());
  if (assertion === undefined) return refuseCredential(`private_key ${FAULT_OF_KEY}`);
  const form = new URLSearchParams({ grant_type: GRANT_TYPE, assertion });
  const answer = await asking.post(endpoint, FORM, form.toString());
  if ('kind' in answer) return answer;
  const { access_token: token, expires_in: lifeSeconds, error } = parseObject(answer.body) ?? {};
  if (answer.status === 400 || answer.status === 401)
    return refuseCredential(
      `Google refuses the service account${isCode(error) ? ` (${error})` : ''}: its key was deleted, the account is ` +
        "disabled, or this machine's clock is wrong",
    );
  if (answer.status !== 200) return outcomeByStatus(answer, now());
  if (!isToken(token) || typeof lifeSeconds !== 'number' || !(lifeSeconds > 0))
    return { kind: 'retry', reason: 'malformed: Google answers something else than an access token' };
  return { token, lifeSeconds };
}

/** Why a key signs nothing, in words. */
export function faultOfGoogleKey(pem: string): string | undefined {
  try {
    const { asymmetricKeyType: type, asymmetricKeyDetails: details } = createPrivateKey(pem);
    return type === 'rsa' && details!.modulusLength! >= RSA_MIN_BITS ? undefined : FAULT_OF_KEY;
  } catch {
    return FAULT_OF_KEY;
  }
}

/** Undefined where the key signs nothing. */
async function signAssertion(
  { client_email: issuer, private_key: pem, private_key_id: kid }: GoogleAccount,
  audience: string,
  now: Date,
): Promise<string | undefined> {
  const iat = Math.floor(now.getTime() / 1_000);
  try {
    return await new SignJWT({ scope: SCOPE })
      .setProtectedHeader({ alg: 'RS256', typ: 'JWT', ...(kid !== undefined && { kid }) })
      .setIssuer(issuer)
      .setAudience(audience)
      .setIssuedAt(iat)
      .setExpirationTime(iat + ASSERTION_SECONDS)
      .sign(await importPKCS8(pem, 'RS256'));
  } catch {
    return undefined;
  }
}

function isCode(value: unknown): value is string {
  return typeof value === 'string' && /^[a-z_]{1,40}$/.test(value);
}
