// Checks what comes in against its schema, and says in words which field is bad and why.
// Refuses what isn't known rather than dropping it. JSON is taken as it is; query and path, which are text, are coerced.

import type { RouteOptions } from 'fastify';
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { ImidError, type FieldFault } from '../errors.ts';
import { faultOfName, parseAppId, parseImId } from '../ids.ts';
import { compiledOnce } from './compiled_once.ts';
import { faultOfOrigin } from './origins.ts';
import { sharedShapes } from './shapes.ts';

const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;
/** There is no year 0 in Postgres. */
const FIRST_MS = Date.parse('0001-01-01T00:00:00Z');
/** Beyond it is no year of four digits. */
const LAST_MS = Date.parse('9999-12-31T23:59:59.999Z');

/** Words for a value that its format refuses; undefined when it is good. */
const formats: Record<string, (text: string) => string | undefined> = {
  name: faultOfName,
  'im-id': faultOfImId,
  origin: faultOfOrigin,
  'app-id': (text) =>
    parseAppId(text) === undefined ? 'must be a positive integer in decimal digits' : undefined,
  lines: (text) =>
    /\p{Cs}|[^\P{Cc}\n\t]/u.test(text)
      ? 'must not hold control characters but line feeds and tabs'
      : undefined,
  'date-time': (text) => (isDateTime(text) ? undefined : 'must be a date and time of RFC 3339'),
  text: (text) =>
    /[\p{Cc}\p{Cs}]/u.test(text) ? 'must not hold control or surrogate characters' : undefined,
};

/** JavaScript takes the 30th of February for a day in March. */
function isDateTime(text: string): boolean {
  const ms = RFC_3339.test(text) ? Date.parse(text) : Number.NaN;
  const day = new Date(`${text.slice(0, 10)}T00:00:00Z`);
  return ms >= FIRST_MS && ms <= LAST_MS && day.getUTCDate() === Number(text.slice(8, 10));
}

function faultOfImId(text: string): string | undefined {
  if (parseImId(text)) return undefined;
  const uid = /^[1-9]\d{0,15}:(.*)$/su.exec(text)?.[1];
  const fault = uid === undefined ? undefined : faultOfName(uid);
  return fault ? `holds a uid that ${fault}` : 'must be an appId, ":" and a uid, or "im_" and 26 characters';
}

function createAjv(coerceTypes: boolean): Ajv {
  const ajv = new Ajv({
    allErrors: true,
    verbose: true,
    removeAdditional: false,
    useDefaults: true,
    coerceTypes: coerceTypes ? 'array' : false,
    // What is coerced may be infinite, such as 1e400: unless that is taken for a number, no `maximum` is looked at.
    strictNumbers: !coerceTypes,
    strictTypes: false,
    strictRequired: false,
    // Schemas come from here alone, and the document that holds them is checked by a test.
    meta: false,
    validateSchema: false,
  });
  for (const [name, faultOf] of Object.entries(formats))
    ajv.addFormat(name, (text: string) => !faultOf(text));
  ajv.addFormat('uuid', true); // only ever in answers
  return ajv.addSchema([...sharedShapes]);
}

/** Checks a value by a schema; of one that is bad, `errors` says why until the next one is checked. */
export interface Check {
  (value: unknown): boolean;
  errors?: ErrorObject[] | null;
}

/** Compiled when something is first checked: a process is up sooner, and needs few of its schemas in its first second. */
function createCheck(ajv: Ajv, schema: object): Check {
  let validate: ValidateFunction | undefined;
  const check: Check = (value) => {
    validate ??= ajv.compile(schema);
    const isGood = validate(value);
    check.errors = validate.errors ?? null;
    return isGood;
  };
  return check;
}

function createCompiler(coerceTypes: boolean): (schema: object) => Check {
  const ajv = createAjv(coerceTypes);
  return compiledOnce((schema) => createCheck(ajv, schema));
}

const compileStrict = createCompiler(false);
const compileCoercing = createCompiler(true);

/** For Fastify; also what frames are checked with. */
export function compileSchema(
  schema: object,
  part: FieldFault['in'] | 'params' | 'querystring' | undefined,
): Check {
  return (part === 'body' || part === 'frame' ? compileStrict : compileCoercing)(schema);
}

const NO_QUERY = { type: 'object', properties: {}, additionalProperties: false };

/** A hook for when a route is added: where it says nothing of a query, it takes none. */
export function closeQuery({ schema }: RouteOptions): void {
  if (schema) schema.querystring ??= NO_QUERY;
}

const MAX_FAULTS = 20;

/** One fault for each bad field, at most twenty. */
export function faultsOf(errors: readonly ErrorObject[], part: FieldFault['in']): FieldFault[] {
  const faults = new Map<string, FieldFault>();
  for (const error of dropOtherBranches(errors)) {
    const pointer = `#${error.instancePath}${memberOf(error)}`;
    if (!faults.has(pointer)) faults.set(pointer, { in: part, pointer, detail: detailOf(error) });
    if (faults.size === MAX_FAULTS) break;
  }
  return [...faults.values()];
}

export function invalid(faults: FieldFault[]): ImidError {
  const [first] = faults;
  const where = first
    ? `${first.pointer.slice(2).replaceAll('/', '.') || 'It'} ${first.detail}.`
    : 'It is ill-formed.';
  return new ImidError('invalid_request', where, { errors: faults });
}

/** Of a value that may have one of two shapes, keeps what is wrong in the one it was meant to have. */
function dropOtherBranches(errors: readonly ErrorObject[]): ErrorObject[] {
  const told = errors.filter((error) => !error.schemaPath.includes('/oneOf/'));
  const choices = new Set(
    told.filter((error) => error.keyword === 'anyOf').map((error) => error.instancePath),
  );
  if (choices.size === 0) return told;
  const kept = told.filter(
    (error) => !choices.has(error.instancePath) || !['type', 'const', 'anyOf'].includes(error.keyword),
  );
  return kept.length > 0 ? kept : told.filter((error) => error.keyword === 'anyOf');
}

function memberOf(error: ErrorObject): string {
  const member: unknown = error.params['missingProperty'] ?? error.params['additionalProperty'];
  return typeof member === 'string' ? `/${member.replaceAll('~', '~0').replaceAll('/', '~1')}` : '';
}

/** One of several that a value may have. */
function describeShape(shape: { const?: unknown; type?: string; items?: { $ref?: string } }): string {
  if (shape.const !== undefined) return JSON.stringify(shape.const);
  if (shape.type === 'null') return 'null';
  if (shape.type === 'array') return shape.items?.$ref === undefined ? 'a list' : 'a list of addresses';
  return shape.type === undefined ? 'an address' : 'an object';
}

/** The fields of which a value must have exactly one. */
function choicesOf({ keyword, schema, parentSchema }: ErrorObject): string[] {
  if (keyword === 'oneOf') return (schema as { required: string[] }[]).flatMap((choice) => choice.required);
  return Object.keys(parentSchema?.['properties'] ?? {});
}

function detailOf(error: ErrorObject): string {
  const { keyword, params } = error;
  if (keyword === 'format')
    return formats[String(params['format'])]?.(String(error.data)) ?? error.message ?? '';
  if (keyword === 'required') return 'is missing';
  if (keyword === 'additionalProperties') return 'is not a known field';
  // Of a pattern, what it is to be in words, where the schema has some.
  if (keyword === 'pattern')
    return [error.message, error.parentSchema?.['description']].filter(Boolean).join(': ').replace(/\.$/, '');
  if (keyword === 'const') return `must be ${JSON.stringify(params['allowedValue'])}`;
  if (keyword === 'enum') return `must be one of ${(params['allowedValues'] as unknown[]).join(', ')}`;
  if (keyword === 'oneOf' || keyword === 'minProperties' || keyword === 'maxProperties')
    return `must have exactly one of ${choicesOf(error).join(', ')}`;
  if (keyword === 'anyOf') return `must be ${(error.schema as object[]).map(describeShape).join(' or ')}`;
  return error.message ?? 'is ill-formed';
}
