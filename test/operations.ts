// Reads the OpenAPI document: of each operation that needs a credential, templates of requests that together use every
// form in which its schemas let something be named. Refuses what it can't follow, so that nothing is left out.

import { parse } from 'yaml';
import { formatOf } from './records.ts';
import { makePlace, type Form, type Operation, type Place, type Template } from './requests.ts';

type Schema = any;
type Spot = Omit<Place, 'form'>;
type Fields = Record<string, unknown>;

/** What a field or parameter of this name takes; a text that isn't here might be an id of any kind. */
const FORMS: Record<string, Form[]> = {
  appId: ['appId'],
  imId: ['composedId', 'registeredId'],
  uid: ['name'],
  userId: ['name'],
  formerName: ['formerName'],
  keyId: ['keyId'],
  kid: ['kid'],
  cursor: ['cursor'],
  messageId: ['messageId'],
  id: ['clientId'],
  device: ['deviceId'],
  deviceId: ['deviceId'],
  pushToken: ['pushToken'],
  jti: ['jti'],
  epoch: ['epoch'],
};
/** Texts for people, times, and what is said of devices and of somebody else's service, which name nothing here. */
const PLAIN = new Set(
  (
    'name displayName title body text at allowedOrigins issuer audience subjectClaim jwksUrl ' +
    'platform provider environment locale appVersion'
  ).split(' '),
);
const PLAIN_VALUES: Record<string, unknown> = {
  null: null,
  boolean: true,
  integer: 1,
  number: 1,
  any: 'anything',
};
const ADDRESS = ['uid', 'userId', 'imId'] as const;
/** Members of a line that name a user. */
const PARTIES = new Set(['from', 'to']);

export function readOperations(yaml: string): Operation[] {
  const document: Schema = parse(yaml);
  const expand = createExpander(document);
  const operations: Operation[] = [];
  for (const [path, methods] of Object.entries<Schema>(document.paths))
    for (const [verb, described] of Object.entries<Schema>(methods)) {
      if (described.security?.length === 0) continue;
      const method = verb.toUpperCase();
      const name = `${method} ${path}`;
      const isSocket = '101' in described.responses;
      operations.push({ name, method, path, isSocket, templates: expandOperation(name, described, expand) });
    }
  return operations;
}

function expandOperation(name: string, described: Schema, expand: Expand): Template[] {
  const parameters = new Map<string, Schema>(
    (described.parameters ?? []).map((each: Schema) => [`${each.in} ${each.name}`, each]),
  );
  const expandPart = (part: 'path' | 'query'): Fields[] => {
    const ofPart = [...parameters.values()].filter((each) => each.in === part);
    const values = (field: string): unknown[] => {
      if (part === 'path' && !(field in FORMS) && !PLAIN.has(field))
        throw new Error(`${name}: say what form a ${field} has`);
      const { schema, example } = parameters.get(`${part} ${field}`);
      return expand(schema, { part, pointer: `/${part}/${field}`, example, isGuess: false });
    };
    const needed = ofPart.filter((each) => each.required).map((each) => each.name);
    // A device is one of a user.
    const optional = ofPart
      .filter((each) => !each.required)
      .map(({ name: field }) => (`${part} ${field}` === 'query deviceId' ? ['imId', field] : [field]));
    return [[], ...optional].flatMap((more) => combine([...needed, ...more], values));
  };
  const content = Object.entries<Schema>(described.requestBody?.content ?? { none: {} });
  const bodies = content.flatMap<Pick<Template, 'contentType' | 'body'>>(([type, { schema, example }]) => {
    if (type === 'none') return [{ contentType: undefined, body: undefined }];
    const spot = { part: 'body', pointer: '/body', example, isGuess: false } as const;
    const values = type === 'application/json' ? expand(schema, spot) : expandStream(type, example);
    return values.map((body) => ({ contentType: type, body }));
  });
  const queries = expandPart('query');
  return expandPart('path').flatMap((path) =>
    queries.flatMap((query) => bodies.map((body) => ({ path, query, ...body }))),
  );
}

type Expand = ReturnType<typeof createExpander>;

/** Makes values of schemas: the one of the example, in every form, and each optional field once. */
function createExpander(document: Schema) {
  function resolve(schema: Schema): Schema {
    if (schema.$ref === undefined) return schema;
    const names: string[] = schema.$ref.slice('#/'.length).split('/');
    return names.reduce((at, name) => at[name], document);
  }

  function expand(unresolved: Schema, spot: Spot): unknown[] {
    const schema = resolve(unresolved);
    const example = spot.example ?? schema.examples?.[0];
    const types = new Set([schema.type].flat());
    // Of several things that name nothing here, one.
    if (schema.anyOf && spot.pointer === '/body' && example !== undefined) return [example];
    if (schema.anyOf) return schema.anyOf.flatMap((each: Schema) => expand(each, spot));
    if (schema.enum) return [example ?? schema.enum[0]];
    // Of any members: as in the example.
    if (schema.propertyNames) return [example ?? {}];
    if (schema.properties) return expandObject(schema, { ...spot, example });
    if (types.has('array')) {
      const first = Array.isArray(example) ? example[0] : undefined;
      const items = expand(schema.items, { ...spot, pointer: `${spot.pointer}/0`, example: first });
      return items.map((item) => [item]);
    }
    if (types.has('string') && schema.format !== 'date-time') return expandText({ ...spot, example });
    const plain = types.has('string') ? new Date().toISOString() : PLAIN_VALUES[schema.type ?? 'any'];
    const value = example ?? schema.default ?? schema.minimum ?? plain;
    if (value === undefined) throw new Error(`no value for ${spot.pointer}: ${JSON.stringify(schema)}`);
    return [value];
  }

  function expandObject(schema: Schema, spot: Spot): Fields[] {
    const example = (typeof spot.example === 'object' ? spot.example : {}) as Fields;
    const names = Object.keys(schema.properties);
    const choices: string[][] =
      schema.oneOf?.map((choice: Schema) => choice.required) ??
      (schema.maxProperties === 1 ? names.map((name) => [name]) : [[]]);
    const chosen = new Set(choices.flat());
    const rest = names.filter((name) => !chosen.has(name));
    const needed = rest.filter((name) => schema.required?.includes(name) || name in example);
    const optional = rest.filter((name) => !needed.includes(name)).map((name) => [name]);
    const isAddress = ADDRESS.every((name) => chosen.has(name));
    const values = (name: string): unknown[] => {
      const member = { ...spot, pointer: `${spot.pointer}/${name}`, example: example[name] };
      // In an address it is a user's, elsewhere one to be given to a user.
      if (isAddress && (name === 'uid' || name === 'userId')) return [makePlace({ ...member, form: name })];
      return expand(schema.properties[name], member);
    };
    return choices.flatMap((choice) =>
      [[], ...optional].flatMap((more) => combine([...choice, ...needed, ...more], values)),
    );
  }

  return expand;
}

function expandText(spot: Spot): unknown[] {
  const name = spot.pointer.split('/').findLast((each) => !/^\d+$/.test(each))!;
  if (PLAIN.has(name)) return [spot.example ?? 'text'];
  const forms = FORMS[name] ?? ['text'];
  // A line may bring an imId along.
  const ofLine: Form[] = spot.part === 'stream' && name === 'imId' ? ['newId'] : [];
  return [...ofLine, ...forms].map((form) => makePlace({ ...spot, form }));
}

/** The lines of the example; no schema says what a line may hold, so an imId is tried as well. */
function expandStream(contentType: string, example: string): Fields[][] {
  const records = formatOf(contentType).read(example);
  const bodies = combine(Object.keys(records), (i) => expandRecord(records[Number(i)]!, `/body/${i}`));
  const lines = bodies.map((body) => Object.values(body) as Fields[]);
  if (records.some((record) => 'imId' in record)) return lines;
  const spot = { part: 'stream', pointer: '/body/0/imId', example: undefined, isGuess: true } as const;
  return [...lines, ...expandText(spot).map((imId) => [{ ...lines[0]?.[0], imId }])];
}

function expandRecord(record: Fields, pointer: string): Fields[] {
  return combine(Object.keys(record), (name) => {
    const value = record[name];
    const spot = { part: 'stream', pointer: `${pointer}/${name}`, example: value, isGuess: false } as const;
    if (PARTIES.has(name)) return expandParty(spot);
    if (typeof value === 'object' && value !== null) return expandRecord(value as Fields, spot.pointer);
    return typeof value === 'string' ? expandText(spot) : [value];
  });
}

/** A user that is there, in every form in which it can be named. */
function expandParty({ pointer, ...spot }: Spot): Fields[] {
  return ADDRESS.flatMap((name) =>
    (name === 'imId' ? FORMS.imId! : [name]).map((form) => ({
      [name]: makePlace({ ...spot, example: undefined, pointer: `${pointer}/${name}`, form }),
    })),
  );
}

/** Every object with these members, each with one of its values. */
function combine(names: readonly string[], values: (name: string) => unknown[]): Fields[] {
  return names.reduce<Fields[]>(
    (made, name) => made.flatMap((object) => values(name).map((value) => ({ ...object, [name]: value }))),
    [{}],
  );
}
