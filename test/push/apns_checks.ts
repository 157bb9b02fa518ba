// What APNs refuses before it looks at the device, as strictly as Apple's documents have it and in Apple's words.

import { sensitiveHeaders, type IncomingHttpHeaders } from 'node:http2';
import { isDeepStrictEqual } from 'node:util';
import { decodeProtectedHeader, jwtVerify, type CryptoKey } from 'jose';

export interface ApnsRequest {
  headers: IncomingHttpHeaders;
  /** As they came: name, value, name, value. */
  rawHeaders: readonly string[];
  body: Buffer;
}

export interface ApnsAccount {
  keyId: string;
  teamId: string;
  bundleId: string;
  publicKey: CryptoKey;
}

export interface Refusal {
  status: number;
  reason: string;
}

const TOKEN_LIFE_SECONDS = 3_600;
const SKEW_SECONDS = 60;
const STORED_SECONDS = 30 * 86_400;
const PAYLOAD_MAX_BYTES = 4_096;
const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const KNOWN = new Set([
  'authorization',
  'apns-topic',
  'apns-push-type',
  'apns-priority',
  'apns-id',
  'apns-expiration',
  'apns-collapse-id',
]);
const APS = new Set(['alert', 'badge', 'sound', 'content-available']);

const refuse = (status: number, reason: string): Refusal => ({ status, reason });

/** All of them, in the order in which Apple's are told. */
export async function findRefusal(
  request: ApnsRequest,
  account: ApnsAccount,
  now: Date,
): Promise<Refusal | undefined> {
  return (
    refusalOfRequest(request) ??
    (await refusalOfToken(request, account, now)) ??
    refusalOfHeaders(request, account.bundleId, now) ??
    refusalOfPayload(request) ??
    refusalOfDevice(request)
  );
}

function refusalOfRequest({ headers, rawHeaders }: ApnsRequest): Refusal | undefined {
  const names = rawHeaders.filter((_, index) => index % 2 === 0);
  if (new Set(names).size !== names.length) return refuse(400, 'DuplicateHeaders');
  if (headers[':method'] !== 'POST') return refuse(405, 'MethodNotAllowed');
  const [, device] = /^\/3\/device\/(.*)$/.exec(String(headers[':path'])) ?? [];
  if (device === undefined) return refuse(404, 'BadPath');
  if (device === '') return refuse(400, 'MissingDeviceToken');
  const unindexed = (headers as unknown as Record<symbol, string[]>)[sensitiveHeaders] ?? [];
  if (!['authorization', ':path', 'apns-id'].every((name) => unindexed.includes(name)))
    return refuse(400, 'HeadersIndexed');
  if (names.some((name) => !name.startsWith(':') && !KNOWN.has(name))) return refuse(400, 'UnknownHeader');
  return undefined;
}

async function refusalOfToken(
  { headers }: ApnsRequest,
  { keyId, teamId, publicKey }: ApnsAccount,
  now: Date,
): Promise<Refusal | undefined> {
  const invalid = refuse(403, 'InvalidProviderToken');
  const [scheme, jwt, ...rest] = (headers['authorization'] ?? '').split(' ');
  if (!jwt || rest.length > 0 || scheme?.toLowerCase() !== 'bearer')
    return refuse(403, 'MissingProviderToken');
  try {
    if (!isOnly(decodeProtectedHeader(jwt), { alg: 'ES256', kid: keyId })) return invalid;
    const { payload } = await jwtVerify(jwt, publicKey, { algorithms: ['ES256'] });
    const { iat } = payload;
    if (!Number.isInteger(iat) || !isOnly(payload, { iss: teamId, iat })) return invalid;
    const age = now.getTime() / 1_000 - iat!;
    if (age < -SKEW_SECONDS) return invalid;
    return age > TOKEN_LIFE_SECONDS ? refuse(403, 'ExpiredProviderToken') : undefined;
  } catch {
    return invalid;
  }
}

function refusalOfHeaders({ headers }: ApnsRequest, bundleId: string, now: Date): Refusal | undefined {
  const header = (name: string): string => String(headers[`apns-${name}`] ?? '');
  const seconds = now.getTime() / 1_000;
  if (!header('topic')) return refuse(400, 'MissingTopic');
  if (header('topic') !== bundleId) return refuse(400, 'TopicDisallowed');
  if (!['alert', 'background'].includes(header('push-type'))) return refuse(400, 'InvalidPushType');
  if (!['1', '5', '10'].includes(header('priority'))) return refuse(400, 'BadPriority');
  if (header('push-type') === 'background' && header('priority') !== '5') return refuse(400, 'BadPriority');
  if (!ID.test(header('id'))) return refuse(400, 'BadMessageId');
  if (!/^\d{1,10}$/.test(header('expiration'))) return refuse(400, 'BadExpirationDate');
  const isKept = header('expiration') !== '0';
  if (isKept && Number(header('expiration')) < seconds - 1) return refuse(400, 'BadExpirationDate');
  if (Number(header('expiration')) > seconds + STORED_SECONDS) return refuse(400, 'BadExpirationDate');
  if (Buffer.byteLength(header('collapse-id')) > 64) return refuse(400, 'BadCollapseId');
  return undefined;
}

/** The type of push must match the payload, which Apple only says; and every word of `aps` must be one of Apple's. */
function refusalOfPayload({ headers, body }: ApnsRequest): Refusal | undefined {
  if (body.length === 0) return refuse(400, 'PayloadEmpty');
  if (body.length > PAYLOAD_MAX_BYTES) return refuse(413, 'PayloadTooLarge');
  const text = new TextDecoder('utf-8', { fatal: true }).decode(body);
  if (/\\ud[89a-f]/i.test(text)) return refuse(400, 'HalfACharacter');
  const { aps } = JSON.parse(text) as { aps?: Record<string, unknown> };
  if (!aps || Object.keys(aps).some((key) => !APS.has(key))) return refuse(400, 'BadPayload');
  const isBackground = isOnly(aps, { 'content-available': 1 });
  if (headers['apns-push-type'] === 'background')
    return isBackground ? undefined : refuse(400, 'InvalidPushType');
  const { alert, badge } = aps;
  if (alert === undefined && badge === undefined) return refuse(400, 'InvalidPushType');
  if (badge !== undefined && !Number.isInteger(badge)) return refuse(400, 'BadPayload');
  const words = Object.entries(alert ?? {});
  const areWords = words.every(
    ([name, word]) => ['title', 'body'].includes(name) && typeof word === 'string',
  );
  return areWords && (alert === undefined || words.length > 0) ? undefined : refuse(400, 'BadPayload');
}

/** Such as is of no device at all. */
function refusalOfDevice({ headers }: ApnsRequest): Refusal | undefined {
  const isDevice = /\/(?!0{64})[0-9a-f]{64}$/.test(String(headers[':path']));
  return isDevice ? undefined : refuse(400, 'BadDeviceToken');
}

function isOnly(value: object, wanted: object): boolean {
  return isDeepStrictEqual({ ...value }, wanted);
}
