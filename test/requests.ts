// Requests with places in them: whatever names something is left open, and filled with ids of one app or another.

/** What a place takes: a name that the caller gives, or an id that it was given. `text` might be either. */
export type Form =
  | 'appId'
  | 'composedId'
  | 'registeredId'
  | 'newId'
  | 'uid'
  | 'userId'
  | 'name'
  | 'formerName'
  | 'keyId'
  | 'kid'
  | 'cursor'
  | 'messageId'
  | 'clientId'
  | 'deviceId'
  | 'pushToken'
  | 'jti'
  | 'epoch'
  | 'text';

export interface Place {
  readonly form: Form;
  readonly part: 'path' | 'query' | 'body' | 'stream';
  /** Where it is, from the part on: /body/to/0/uid. */
  readonly pointer: string;
  readonly example: unknown;
  /** The document doesn't say that the service takes it. */
  readonly isGuess: boolean;
}

/** Values are JSON with places in it. */
export interface Template {
  path: Record<string, unknown>;
  query: Record<string, unknown>;
  contentType: string | undefined;
  body: unknown;
}

export interface Operation {
  name: string;
  method: string;
  path: string;
  /** Answers with a WebSocket. */
  isSocket: boolean;
  templates: Template[];
}

const places = new WeakSet<object>();

export function makePlace(place: Place): Place {
  places.add(place);
  return place;
}

function isPlace(value: unknown): value is Place {
  return typeof value === 'object' && value !== null && places.has(value);
}

export function placesOf(template: unknown): Place[] {
  if (isPlace(template)) return [template];
  if (typeof template !== 'object' || template === null) return [];
  return Object.values(template).flatMap((each) => placesOf(each));
}

/** A template with what `pick` gives in its places. */
export async function fill<T>(template: T, pick: (place: Place) => unknown): Promise<T> {
  if (isPlace(template)) return (await pick(template)) as T;
  if (typeof template !== 'object' || template === null) return template;
  if (Array.isArray(template)) return Promise.all(template.map((each) => fill(each, pick))) as Promise<T>;
  const filled: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(template)) filled[name] = await fill(value, pick);
  return filled as T;
}
