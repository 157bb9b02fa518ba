// Asks what a template says, and reads the answers so that two of them can be held against each other.

import { Refused, type Answer, type Json, type Service } from './harness.ts';
import { formatOf } from './records.ts';
import { fill, type Operation, type Place, type Template } from './requests.ts';
import { ownId, type Role, type World } from './worlds.ts';

/** One way to use an operation. */
export interface Use {
  operation: Operation;
  template: Template;
  role: Role;
}

/** Asks with a credential of the world. A socket that opens is closed again; its welcome is the answer. */
export async function ask(
  service: Service,
  { operation, template, role }: Use,
  { credentials }: World,
  pick: (place: Place) => unknown,
): Promise<Answer> {
  const { path, query, body, contentType } = await fill(template, pick);
  const search = new URLSearchParams();
  for (const [name, values] of Object.entries(query))
    for (const value of [values].flat()) search.append(name, String(value));
  if (operation.isSocket) return openSocket(service, credentials[role], search);
  const at = operation.path.replaceAll(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(String(path[name])),
  );
  const isJson = contentType === undefined || contentType === 'application/json';
  return service.call(operation.method, `${at}?${search.toString()}`, {
    key: credentials[role],
    body: isJson ? body : formatOf(contentType).write(body as Record<string, unknown>[]),
    headers: contentType === undefined ? {} : { 'content-type': contentType },
  });
}

async function openSocket(service: Service, token: string, query: URLSearchParams): Promise<Answer> {
  try {
    const client = await service.connect(token, Object.fromEntries(query));
    await client.close();
    return toAnswer(101, client.welcome);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return toAnswer(error.status, error.body);
  }
}

const toAnswer = (status: number, body: unknown): Answer => ({
  status,
  headers: new Headers(),
  body,
  text: JSON.stringify(body),
});

/** What stands in the places of a use by an app about itself. */
export function ownIds(service: Service, use: Use, world: World): (place: Place) => unknown {
  return (place) => {
    if (place.form === 'cursor') return findCursor(service, use, world);
    if (place.form === 'kid') return findNextKid(service);
    return ownId(world, place);
  };
}

/** Of a signing key that nothing was signed with yet. */
async function findNextKid(service: Service): Promise<string> {
  const { body } = await service.call('GET', '/v1/keys');
  return body.items.find((key: Json) => key.state === 'next').kid;
}

/** A cursor that an app is given: all its lists hold two items or more. */
export async function findCursor(service: Service, use: Use, world: World): Promise<string> {
  const { cursor: _cursor, ...query } = use.template.query;
  const firstPage = { ...use, template: { ...use.template, query: { ...query, limit: 1 } } };
  const { body, text } = await ask(service, firstPage, world, (place) => ownId(world, place));
  return (body.nextCursor as string | undefined) ?? text;
}

/** The codes that an answer carries, of the whole or of its items. */
export function codesOf({ status, body, text }: Answer): string[] {
  if (status >= 400) return [body.code];
  return Array.from(text.matchAll(/"error":\{"code":"(\w+)"/g), ([, code]) => code!);
}

export function isGood(answer: Answer): boolean {
  return answer.status < 300 && codesOf(answer).length === 0;
}

const VOLATILE =
  /im_[0-9a-z]{26}|[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\dT[\d:.]+Z|eyJ[\w.-]+|imk_\w+|(?<="(keyId|epoch|nextCursor)":")[\w-]+/g;

/**
 * An answer as it reads for whoever knows neither the id that was asked about nor, when all is well, the app: two apps
 * that are filled alike read the same.
 */
export function readAs({ app }: World, { status, text }: Answer, id: string): string {
  const read = text.replaceAll(JSON.stringify(id).slice(1, -1), '<asked>');
  if (status >= 400) return `${status} ${read}`;
  const alike = read.replaceAll(VOLATILE, '<new>').replaceAll(`"${app.appId}:`, '"<app>:');
  return `${status} ${alike.replaceAll(`"appId":"${app.appId}"`, '"appId":"<app>"')}`;
}
