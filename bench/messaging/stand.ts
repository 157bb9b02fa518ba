// The two sides of a messaging bench: an app on the service, and the relay, with doors for the same users to both.

import { openLoad, toRequest } from '../load.ts';
import type { Program, Service, Tenant } from '../service.ts';
import { nameOf } from '../users.ts';
import type { Member } from './fleet.ts';

const ISSUING_CONNECTIONS = 16;

/** A fresh token for each of the users, who have a device each. */
export async function openDoors(service: Service, app: Tenant, names: readonly string[]): Promise<Member[]> {
  using load = await openLoad(service.url, ISSUING_CONNECTIONS);
  const tokens = new Map<string, string>();
  let next = 0;
  await load.run(
    () => (next < names.length ? toIssue(names[next++]!) : undefined),
    (body) => {
      const { token, imId } = JSON.parse(body.toString()) as { token: string; imId: string };
      tokens.set(imId, token);
    },
  );
  return names.map((name) => ({
    url: service.url,
    path: `/v1/connect?device=phone`,
    token: tokens.get(`${app.appId}:${name}`)!,
    name,
  }));

  function toIssue(uid: string): string {
    return toRequest(`${app.url}/tokens`, app.apiKey, { uid });
  }
}

/** The same users at the relay, who bring the same tokens whether it looks at them or not. */
export function toRelayDoors(relay: Program, doors: readonly Member[]): Member[] {
  return doors.map(({ name, token, path }) => ({
    url: relay.url,
    path: `${path}&uid=${name}`,
    token,
    name,
  }));
}

export function toNames(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, i) => nameOf(from + i));
}
