// Reads the frames that clients send: from text to a checked frame. One bad frame costs one error, never more.

import { Type } from 'typebox';
import { ImidError } from '../errors.ts';
import type { ClientFrame } from '../routing/frames.ts';
import { CONTENT_MAX_BYTES, requireRoomForPush, toJsonText } from './content.ts';
import { isTooDeep, TOO_DEEP } from './parsing.ts';
import { Address, ClientId, MessageId, PushText, ref, Seq } from './shapes.ts';
import { compileSchema, faultsOf, invalid, type Check } from './validation.ts';

const WATCHED_MAX = 200;

const frame = (type: string, fields: Parameters<typeof Type.Object>[0]) =>
  Type.Object({ type: Type.Literal(type), ...fields }, { additionalProperties: false });

/** Whose messages can be read: also those of the app itself, which is no user. */
const Peer = Type.Object(
  { ...Address.properties, system: Type.Optional(Type.Literal(true)) },
  { minProperties: 1, maxProperties: 1, additionalProperties: false },
);

const frameSchemas: Record<ClientFrame['type'], object> = {
  send: frame('send', {
    id: ClientId,
    to: ref(Address),
    content: Type.Unknown(),
    push: Type.Optional(ref(PushText)),
  }),
  ack: frame('ack', { seq: Seq }),
  state: frame('state', { state: Type.String({ enum: ['foreground', 'background'] }) }),
  token: frame('token', { token: Type.String({ maxLength: 8192 }) }),
  read: frame('read', { with: Peer, messageId: MessageId }),
  recall: frame('recall', { id: ClientId, messageId: MessageId }),
  typing: frame('typing', { to: ref(Address) }),
  watch: frame('watch', { users: Type.Array(ref(Address), { maxItems: WATCHED_MAX }) }),
  ping: frame('ping', {}),
};

/** A frame that was read, or what to tell the client, with the id of the send it is about if it has one. */
export type ReadFrame = { frame: ClientFrame } | { error: ImidError; id?: string };

export type FrameReader = (bytes: Buffer) => ReadFrame;

export function createFrameReader(): FrameReader {
  const validators = new Map<string, Check>(
    Object.entries(frameSchemas).map(([type, schema]) => [type, compileSchema(schema, 'frame')]),
  );

  return (bytes) => {
    let value: unknown;
    try {
      value = JSON.parse(bytes.toString());
    } catch {
      return { error: new ImidError('invalid_request', 'The frame is not JSON.') };
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      return { error: new ImidError('invalid_request', 'The frame is not a JSON object.') };
    const { type, id } = value as { type?: unknown; id?: unknown };
    const about = typeof id === 'string' && id.length <= 128 ? { id } : {};
    const validate = typeof type === 'string' ? validators.get(type) : undefined;
    if (!validate) {
      const detail = `must be one of ${[...validators.keys()].join(', ')}`;
      return { error: invalid([{ in: 'frame', pointer: '#/type', detail }]), ...about };
    }
    if (isTooDeep(bytes))
      return { error: new ImidError('invalid_request', `The frame ${TOO_DEEP}.`), ...about };
    if (!validate(value)) return { error: invalid(faultsOf(validate.errors ?? [], 'frame')), ...about };
    if (type !== 'send') return { frame: value as ClientFrame };
    try {
      const send = value as Omit<Extract<ClientFrame, { type: 'send' }>, 'content'> & { content: unknown };
      const content = toJsonText(send.content, CONTENT_MAX_BYTES, { in: 'frame', pointer: '#/content' });
      requireRoomForPush(send.push, 'frame');
      return { frame: { ...send, content } };
    } catch (error) {
      return { error: error as ImidError, ...about };
    }
  };
}
