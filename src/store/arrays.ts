// Array parameters in Postgres's binary format (array_send in src/backend/utils/adt/arrayfuncs.c), which costs both sides
// a fraction of what the text of a long array does: node-postgres sends a Buffer as it is, marked as binary.

const OIDS = { boolean: 16, bigint: 20, integer: 23, text: 25, uuid: 2950 } as const;
const HEADER_BYTES = 20;
const NULL_LENGTH = -1;
/** A UTF-16 unit is at most this many bytes of UTF-8. */
const UNIT_MAX_BYTES = 3;

export function bigintArray(values: readonly number[]): Buffer {
  return fixedArray(OIDS.bigint, 8, values, (array, value, at) => {
    array.writeInt32BE(Math.floor(value / 0x1_0000_0000), at);
    array.writeUInt32BE(value % 0x1_0000_0000, at + 4);
  });
}

export function integerArray(values: readonly number[]): Buffer {
  return fixedArray(OIDS.integer, 4, values, (array, value, at) => array.writeInt32BE(value, at));
}

export function booleanArray(values: readonly boolean[]): Buffer {
  return fixedArray(OIDS.boolean, 1, values, (array, value, at) => array.writeUInt8(value ? 1 : 0, at));
}

export function uuidArray(values: readonly string[]): Buffer {
  return fixedArray(OIDS.uuid, 16, values, (array, value, at) =>
    array.write(value.replaceAll('-', ''), at, 'hex'),
  );
}

export function textArray(values: readonly (string | null)[]): Buffer {
  let capacity = HEADER_BYTES;
  for (const value of values) capacity += 4 + (value?.length ?? 0) * UNIT_MAX_BYTES;
  const array = allocate(OIDS.text, capacity, values.length, values.includes(null));
  let at = HEADER_BYTES;
  for (const value of values) {
    const length = value === null ? NULL_LENGTH : array.write(value, at + 4);
    array.writeInt32BE(length, at);
    at += 4 + Math.max(length, 0);
  }
  return array.subarray(0, at);
}

function fixedArray<T>(
  oid: number,
  width: number,
  values: readonly T[],
  write: (array: Buffer, value: T, at: number) => void,
): Buffer {
  const array = allocate(oid, HEADER_BYTES + values.length * (4 + width), values.length, false);
  let at = HEADER_BYTES;
  for (const value of values) {
    array.writeInt32BE(width, at);
    write(array, value, at + 4);
    at += 4 + width;
  }
  return array;
}

/** One dimension, counted from 1. */
function allocate(oid: number, bytes: number, length: number, hasNulls: boolean): Buffer {
  const array = Buffer.allocUnsafe(bytes);
  array.writeInt32BE(1, 0);
  array.writeInt32BE(hasNulls ? 1 : 0, 4);
  array.writeInt32BE(oid, 8);
  array.writeInt32BE(length, 12);
  array.writeInt32BE(1, 16);
  return array;
}
