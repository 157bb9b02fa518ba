// Cursors: where a list goes on. Opaque to callers; here the last key of the page before.

import { isName, type Name } from '../ids.ts';
import { invalid } from './validation.ts';

/** Throws `invalid_request` for a cursor that isn't one of ours. */
export function readCursor(cursor: string | undefined): string | undefined {
  if (cursor === undefined) return undefined;
  const [, key] = /^after:([\w-]+)$/.exec(Buffer.from(cursor, 'base64url').toString()) ?? [];
  if (key === undefined)
    throw invalid([{ in: 'query', pointer: '#/cursor', detail: 'is not a cursor of this list' }]);
  return key;
}

/** As `readCursor`, where the key is a number; 0 without a cursor. */
export function readNumberCursor(cursor: string | undefined): number {
  const text = readCursor(cursor) ?? '0';
  const key = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(key))
    throw invalid([{ in: 'query', pointer: '#/cursor', detail: 'is not a cursor of this list' }]);
  return key;
}

/** As `readCursor`, where the key is a name; undefined without a cursor. */
export function readNameCursor(cursor: string | undefined): Name | undefined {
  const key = readCursor(cursor);
  if (key === undefined) return undefined;
  const name = Buffer.from(key, 'base64url').toString();
  if (!isName(name))
    throw invalid([{ in: 'query', pointer: '#/cursor', detail: 'is not a cursor of this list' }]);
  return name;
}

export function toNameKey(name: Name): string {
  return Buffer.from(name).toString('base64url');
}

/** A page out of `limit + 1` rows: the cursor is there if there is more. */
export function toPage<Row, Item>(
  rows: readonly Row[],
  limit: number,
  keyOf: (row: Row) => string | number,
  toItem: (row: Row) => Item,
): { items: Item[]; nextCursor?: string } {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const hasMore = rows.length > limit && last !== undefined;
  return {
    items: shown.map(toItem),
    ...(hasMore ? { nextCursor: toCursor(keyOf(last)) } : {}),
  };
}

export function toCursor(key: string | number): string {
  return Buffer.from(`after:${key}`).toString('base64url');
}
