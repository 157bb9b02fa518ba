// The customer's backend, played by the page: it knows its users, holds the API key, and calls imid's REST API. Whoever
// says a name is believed, as there are no passwords here.

import type { Address } from '../client/index.ts';

export type Scheme = 'composed' | 'registered';

/** A user as the customer knows it. */
export interface User {
  /** The customer's own number of it, which outlives every change of name. */
  readonly number: number;
  readonly displayName: string;
  /** Its uid, or userId. */
  name: string;
  /** Undefined: it isn't registered. */
  imId: string | undefined;
}

export interface Call {
  request: string;
  body: string;
  status: number;
  answer: string;
}

export interface Use {
  users: number;
  connections: number;
}

export type Backend = Awaited<ReturnType<typeof openBackend>>;

/** Rejects with what the service says is wrong. */
export async function openBackend(options: { url: string; adminKey: string; onCall: (call: Call) => void }) {
  const { url, adminKey } = options;
  const users: User[] = [];

  async function call<T>(method: string, path: string, body?: object, key = apiKey): Promise<T> {
    const response = await fetch(`${url}/v1/apps${path}`, {
      method,
      headers: { authorization: `Bearer ${key}`, ...(body && { 'content-type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (method !== 'GET')
      options.onCall({
        request: `${method} /v1/apps${path}`,
        body: body ? JSON.stringify(body) : '',
        status: response.status,
        answer: text.replace(/imk_[\w-]+|ey[\w-]+\.[\w.-]+/g, (secret) => `${secret.slice(0, 6)}…`),
      });
    const answer = text ? (JSON.parse(text) as T & { detail: string }) : undefined;
    if (!response.ok) throw new Error(answer?.detail ?? `Answered with ${response.status}.`);
    return answer as T;
  }

  let apiKey = '';
  const app = await call<{ appId: string; apiKey: string }>(
    'POST',
    '',
    { name: 'playground', schemes: ['composed', 'registered'] },
    adminKey,
  );
  ({ apiKey } = app);
  const { appId } = app;

  const imIdOf = ({ imId, name }: User): string => imId ?? `${appId}:${name}`;
  const addressOf = ({ imId, name }: User): Address => (imId === undefined ? { uid: name } : { imId });
  const pathOf = (user: User): string => encodeURIComponent(imIdOf(user));

  /** Whom imid has taken under its name is a user from then on. */
  function keep(user: User): void {
    if (!users.includes(user)) users.push(user);
  }

  return {
    appId,
    users,
    imIdOf,

    /** Somebody who says a name: the user who has it, or one to be. */
    meet: (name: string): User =>
      users.find((user) => user.name === name) ?? {
        number: users.length + 1,
        displayName: name.charAt(0).toUpperCase() + name.slice(1),
        name,
        imId: undefined,
      },

    /** Also adopts: a userId that is in use as a uid is that user. */
    async register(user: User): Promise<void> {
      const { imId } = await call<{ imId: string }>('POST', `/${appId}/identities`, { userId: user.name });
      user.imId = imId;
      keep(user);
    },

    async rename(user: User, name: string): Promise<void> {
      const field = user.imId === undefined ? 'uid' : 'userId';
      await call('PATCH', `/${appId}/identities/${pathOf(user)}`, { [field]: name });
      user.name = name;
    },

    /** The address it is issued for decides the scheme of the token. */
    async issueToken(user: User, scheme: Scheme): Promise<string> {
      const address = scheme === 'composed' ? { uid: user.name } : addressOf(user);
      const { token } = await call<{ token: string }>('POST', `/${appId}/tokens`, address);
      keep(user);
      return token;
    },

    /** Everybody is everybody's contact. */
    async shareContacts(): Promise<void> {
      for (const user of users)
        await call('PUT', `/${appId}/contacts/${pathOf(user)}`, {
          items: users
            .filter((other) => other !== user)
            .map((other) => ({
              ...addressOf(other),
              displayName: other.displayName,
              data: { number: other.number },
            })),
        });
    },

    /** A message to everybody in the name of the app itself. */
    async announce(text: string): Promise<void> {
      await call('POST', `/${appId}/messages`, { to: users.map(addressOf), content: { text } });
    },

    countUse: () => call<Record<Scheme, Use>>('GET', `/${appId}/schemes`),

    /** Goes on when the page is gone. */
    leave(): void {
      void fetch(`${url}/v1/apps/${appId}`, {
        method: 'DELETE',
        headers: { authorization: `Bearer ${adminKey}` },
        keepalive: true,
      }).catch(() => {});
    },
  };
}
