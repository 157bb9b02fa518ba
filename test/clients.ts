// Clients of the library on a service of a test, with all that they are told written down.

import { afterEach } from 'node:test';
import {
  createClient,
  type Client,
  type ClientOptions,
  type Events,
  type TokenReason,
} from '../src/client/index.ts';
import { eventually, type Service, type Tenant } from './harness.ts';

export interface Watched {
  client: Client;
  /** What getToken was asked for. */
  reasons: TokenReason[];
  /** All of it, by name, in order. */
  seen: { [Name in keyof Events]: Events[Name][] };
  /** The first, from place `from` on, that passes. */
  wait<Name extends keyof Events>(
    name: Name,
    test?: (event: Events[Name]) => boolean,
    from?: number,
  ): Promise<Events[Name]>;
}

/** Soon enough for a test to wait for. */
export const QUICK = { baseMs: 20, maxMs: 100 };

/** A token, whose life is counted in whole seconds: a short one is issued when one begins, to be as long as it says. */
export async function issueToken(app: Tenant, uid: string, ttlSeconds: number): Promise<string> {
  if (ttlSeconds > 1 && ttlSeconds < 10)
    await eventually(() => Date.now() % 1_000 < 200, 'a second to begin');
  return (await app.call('POST', '/tokens', { uid, ttlSeconds })).body.token as string;
}

const open = new Set<Client>();
afterEach(async () => {
  await Promise.all([...open].map((client) => client.close()));
  open.clear();
});

/** Not connected yet. */
export function watch(options: ClientOptions): Watched {
  const reasons: TokenReason[] = [];
  const client = createClient({
    backoff: QUICK,
    ...options,
    getToken(ask) {
      reasons.push(ask.reason);
      return options.getToken(ask);
    },
  });
  open.add(client);
  const names = [
    'state',
    'message',
    'sent',
    'failed',
    'recalled',
    'read',
    'typing',
    'presence',
    'reset',
    'error',
  ] as const;
  const seen = Object.fromEntries(names.map((name) => [name, []])) as unknown as Watched['seen'];
  for (const name of names) client.on(name, (event) => void (seen[name] as unknown[]).push(event));
  return {
    client,
    reasons,
    seen,
    wait: (name, test = () => true, from = 0) =>
      eventually(
        () => seen[name].slice(from).find(test),
        `${name}; seen: ${JSON.stringify(seen).slice(-2000)}`,
      ),
  };
}

/** Of a user of an app on a service. */
export const watchUser = (
  service: Service,
  app: Tenant,
  address: object,
  options: Partial<ClientOptions> = {},
): Watched => watch({ url: service.url, getToken: () => app.token(address), ...options });
