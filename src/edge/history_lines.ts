// What a line of history says: a message of a former system, as an import reads it and an export writes it.

import { Type, type TSchema } from 'typebox';
import { asImidError, ImidError } from '../errors.ts';
import type { App } from '../identity/apps.ts';
import { describe, SYSTEM_NAME } from '../identity/schemes.ts';
import type { ExportedMessage } from '../routing/history.ts';
import type { PastMessage, PastParty } from '../routing/past_messages.ts';
import { CONTENT_MAX_BYTES, toJsonText } from './content.ts';
import type { Line } from './lines.ts';
import { Address, ClientId, Timestamp } from './shapes.ts';
import { compileSchema, faultsOf, invalid } from './validation.ts';

/** As a frame: a content may be written in up to six times as many bytes as it has. */
export const HISTORY_LINE_MAX_BYTES = 128 * 1024;
/** By how much the clock of a former system may be ahead. */
const AHEAD_MAX_MS = 60_000;

const partyOf = (more: Record<string, TSchema>) =>
  Type.Unsafe<PastParty>(
    Type.Object(
      { ...Address.properties, erased: Type.Optional(Type.Literal(true)), ...more },
      { minProperties: 1, maxProperties: 1, additionalProperties: false },
    ),
  );

const HistoryLine = Type.Object(
  {
    from: partyOf({ system: Type.Optional(Type.Literal(true)) }),
    to: partyOf({}),
    content: Type.Unknown(),
    at: Timestamp,
    id: ClientId,
    part: Type.Optional(Type.Integer({ minimum: 0, maximum: 0x7fff_ffff })),
  },
  { additionalProperties: false },
);
const validate = compileSchema(HistoryLine, 'frame');

export function readPastMessage(read: Line, now: Date): PastMessage | ImidError {
  if ('fault' in read) return new ImidError('invalid_request', `The line ${read.fault}.`);
  if (!validate(read.value)) return invalid(faultsOf(validate.errors ?? [], 'body'));
  const { from, to, content, at, id, part = 0 } = read.value as Type.Static<typeof HistoryLine>;
  if ('erased' in from && 'erased' in to) return invalid([fault('to', 'must not be erased as well')]);
  const date = new Date(at);
  if (date.getTime() < 0) return invalid([fault('at', 'must not be before 1970')]);
  if (date.getTime() > now.getTime() + AHEAD_MAX_MS) return invalid([fault('at', 'must not be to come')]);
  try {
    const text = toJsonText(content, CONTENT_MAX_BYTES, fault('content', ''));
    return { from, to, content: text, at: date, id, part };
  } catch (error) {
    return asImidError(error);
  }
}

function fault(field: string, detail: string) {
  return { in: 'body' as const, pointer: `#/${field}`, detail };
}

/** A line that imports unchanged, there or elsewhere, where its users have the same names. */
export function writePastMessage(
  app: App,
  { id, from, to, clientId, part, content, at }: ExportedMessage,
): string {
  return (
    `{"from":${toParty(app, from)},"to":${toParty(app, to)},"content":${content},"at":"${at.toISOString()}",` +
    (from ? `"id":${JSON.stringify(clientId)}${part > 0 ? `,"part":${part}` : ''}}\n` : `"id":"${id}"}\n`)
  );
}

function toParty(app: App, party: ExportedMessage['from']): string {
  if (!party) return '{"erased":true}';
  if (party.name === SYSTEM_NAME) return '{"system":true}';
  const { uid, userId } = describe(app, party);
  return JSON.stringify(userId === undefined ? { uid } : { userId });
}
