// Opaque JSON that is kept as text: bounded here, never looked into.

import { ImidError, type FieldFault } from '../errors.ts';

export const CONTENT_MAX_BYTES = 16 * 1024;
export const CONTACT_DATA_MAX_BYTES = 4 * 1024;
/** With the words beside it, and nested as some want it, within what providers take. */
const PUSH_DATA_MAX_BYTES = 2 * 1024;

/** The JSON text of a value. Throws `payload_too_large`, naming the field, beyond `maxBytes`. */
export function toJsonText(
  value: unknown,
  maxBytes: number,
  field: { in: FieldFault['in']; pointer: string },
): string {
  const text = JSON.stringify(value);
  const bytes = Buffer.byteLength(text);
  if (bytes <= maxBytes) return text;
  const detail = `is ${bytes} bytes of JSON; at most ${maxBytes} are taken`;
  throw new ImidError('payload_too_large', `${field.pointer.slice(2).replaceAll('/', '.')} ${detail}.`, {
    errors: [{ ...field, detail }],
  });
}

/** Throws `payload_too_large` for data of a push that no provider has room for: it is never cut. */
export function requireRoomForPush(
  push: { data?: object } | false | undefined,
  part: FieldFault['in'],
): void {
  if (push && push.data) toJsonText(push.data, PUSH_DATA_MAX_BYTES, { in: part, pointer: '#/push/data' });
}
