// The one canonical spelling of a compact JWS (RFC 7515 section 3.1), which jose reads far more leniently, and JSON in
// which no member stands twice (RFC 8725 section 2.4).

import { isUtf8 } from 'node:buffer';

const COMPACT_JWS = /^([\w-]+)\.([\w-]+)\.([\w-]+)$/;

/** The bytes of header and payload. Throws what `refuse` makes of the reason. */
export function readCompact(
  token: string,
  maxLength: number,
  refuse: (why: string) => Error,
): { header: Buffer; payload: Buffer } {
  const parts = token.length <= maxLength ? COMPACT_JWS.exec(token)?.slice(1) : undefined;
  if (!parts) throw refuse('it is not a compact JWS');
  const [header, payload] = parts.map((part) => {
    const bytes = Buffer.from(part, 'base64url');
    if (bytes.toString('base64url') !== part) throw refuse('it is not in canonical base64url');
    return bytes;
  });
  return { header: header!, payload: payload! };
}

/** An object in JSON, in which no member, at any depth, stands twice. Undefined for anything else. */
export function readUnambiguous(bytes: Buffer): Record<string, unknown> | undefined {
  if (!isUtf8(bytes)) return undefined;
  const text = bytes.toString();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value) || hasTwins(text)) return undefined;
  return value as Record<string, unknown>;
}

/** Whether a member of well-formed JSON stands twice in its object. */
function hasTwins(text: string): boolean {
  const open: (Set<string> | undefined)[] = [];
  let before = '';
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]/g)) {
    if (token === '{') open.push(new Set());
    else if (token === '[') open.push(undefined);
    else if (token === '}' || token === ']') open.pop();
    else if (token.startsWith('"') && (before === '{' || before === ',')) {
      const names = open.at(-1);
      const name: string = JSON.parse(token);
      if (names?.has(name)) return true;
      names?.add(name);
    }
    before = token;
  }
  return false;
}
