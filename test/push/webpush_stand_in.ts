// A push service of browsers and a browser behind it: checks the request (RFC 8030), the VAPID signature (RFC 8292), and
// decrypts what it got (RFC 8291) by what those documents say, without the library that encrypted it.

import { createDecipheriv, createECDH, createPublicKey, hkdfSync, randomBytes } from 'node:crypto';
import { jwtVerify } from 'jose';
import { Refused, startHttpStandIn, type Answer, type Asked, type Running } from './http_stand_in.ts';

const TAG_BYTES = 16;
const DAY_SECONDS = 86_400;

export interface Browser {
  /** As `PushSubscription.toJSON()`. */
  subscription: { endpoint: string; expirationTime: null; keys: { p256dh: string; auth: string } };
  decrypt(body: Buffer): string;
}

export function createBrowser(
  endpoint: string,
  { auth, privateKey }: { auth?: Buffer; privateKey?: Buffer } = {},
) {
  const ecdh = createECDH('prime256v1');
  if (privateKey) ecdh.setPrivateKey(privateKey);
  else ecdh.generateKeys();
  const own = ecdh.getPublicKey();
  const secret = auth ?? randomBytes(16);
  const derive = (ikm: Buffer, salt: Buffer, info: string | Buffer, bytes: number): Buffer =>
    Buffer.from(hkdfSync('sha256', ikm, salt, info, bytes));
  return {
    subscription: {
      endpoint,
      expirationTime: null,
      keys: { p256dh: own.toString('base64url'), auth: secret.toString('base64url') },
    },
    decrypt(body) {
      const salt = body.subarray(0, 16);
      const recordBytes = body.readUInt32BE(16);
      const idBytes = body.readUInt8(20);
      const theirs = body.subarray(21, 21 + idBytes);
      const record = body.subarray(21 + idBytes);
      if (idBytes !== 65 || record.length > recordBytes)
        throw new Error('not one record of a key of 65 bytes');
      const info = Buffer.concat([Buffer.from('WebPush: info\0'), own, theirs]);
      const ikm = derive(ecdh.computeSecret(theirs), secret, info, 32);
      const key = derive(ikm, salt, 'Content-Encoding: aes128gcm\0', 16);
      const nonce = derive(ikm, salt, 'Content-Encoding: nonce\0', 12);
      const decipher = createDecipheriv('aes-128-gcm', key, nonce);
      decipher.setAuthTag(record.subarray(-TAG_BYTES));
      const padded = Buffer.concat([decipher.update(record.subarray(0, -TAG_BYTES)), decipher.final()]);
      const end = padded.findLastIndex((byte) => byte !== 0);
      if (padded[end] !== 2) throw new Error('not the last record');
      return padded.subarray(0, end).toString();
    },
  } satisfies Browser;
}

export async function startPushService(t: Running, publicKey: string, now: () => Date = () => new Date()) {
  const payloads: string[] = [];

  async function verifyVapid(authorization: string | undefined): Promise<void> {
    const { jwt, k } = /^vapid t=(?<jwt>[^ ,]+), k=(?<k>[^ ,]+)$/.exec(authorization ?? '')?.groups ?? {};
    if (!jwt || k !== publicKey) throw new Error('other keys than the browser subscribed with');
    const point = Buffer.from(k, 'base64url');
    const [x, y] = [point.subarray(1, 33), point.subarray(33)].map((part) => part.toString('base64url'));
    const key = createPublicKey({ key: { kty: 'EC', crv: 'P-256', x: x!, y: y! }, format: 'jwk' });
    const { payload } = await jwtVerify(jwt, key, {
      algorithms: ['ES256'],
      audience: standIn.url,
      typ: 'JWT',
      requiredClaims: ['exp', 'sub'],
      currentDate: now(),
    });
    if (payload.exp! > now().getTime() / 1_000 + DAY_SECONDS) throw new Error('exp more than a day ahead');
    if (!/^(mailto:|https:)/.test(payload.sub!)) throw new Error('sub');
  }

  async function take({ method, path, headers, body }: Asked): Promise<Answer> {
    const bad = (why: string): Refused => new Refused(why, { status: 400 });
    if (method !== 'POST' || path !== '/push/abc') throw new Refused(path, { status: 404 });
    await verifyVapid(headers.authorization).catch((error: Error) => {
      throw new Refused(error.message, { status: 403, body: 'the VAPID credentials do not correspond' });
    });
    if (headers['content-encoding'] !== 'aes128gcm') throw bad('content-encoding');
    if (headers['content-type'] !== 'application/octet-stream') throw bad('content-type');
    if (!/^\d{1,10}$/.test(headers.ttl?.toString() ?? '')) throw bad('TTL');
    if (!/^(very-low|low|normal|high)$/.test(headers['urgency']?.toString() ?? 'normal'))
      throw bad('Urgency');
    const topic = headers['topic']?.toString();
    if (topic !== undefined && (!/^[\w-]{1,32}$/.test(topic) || topic.length % 4 === 1)) throw bad('Topic');
    if (body.length > 4_096) throw new Refused('size', { status: 413 });
    return { status: 201, headers: { location: `${standIn.url}/message/1` } };
  }

  const standIn = await startHttpStandIn(
    t,
    async (asked, conduct) => {
      const answer = await take(asked);
      const payload = browser.decrypt(asked.body);
      if (conduct === 'accept') payloads.push(payload);
      return answer;
    },
    {
      gone: { status: 410 },
      throttled: { status: 429 },
      'throttled for 7 s': { status: 429, headers: { 'retry-after': '7' } },
      'credential refused': { status: 403, body: { reason: 'BadJwtToken' } },
    },
  );
  const browser: Browser = createBrowser(`${standIn.url}/push/abc`);
  return { ...standIn, browser, payloads };
}
