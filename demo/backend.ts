// The customer's own server: it signs people up, keeps the table of them, and hands out tokens and contact lists.
// Nobody else holds the API key. There are no passwords here: whoever says a name is believed.

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { openImid, type Address, type Contact } from './imid.ts';
import type { Scheme, Tell } from './transcript.ts';

/** A row of the user table: the id is the customer's own, uid and userId in one. */
interface User {
  readonly id: string;
  readonly name: string;
  imId: string;
  readonly contacts: User[];
}

/** Somebody with a program of one of the schemes. */
interface Session {
  readonly user: User;
  readonly scheme: Scheme;
}

/** What is said at the door. */
export interface Greeting {
  id: string;
  name: string;
  scheme: Scheme;
}

export type Backend = Awaited<ReturnType<typeof openBackend>>;

export async function openBackend(options: { imidUrl: string; appId: string; apiKey: string; tell: Tell }) {
  const { imidUrl, appId, apiKey, tell } = options;
  const imid = openImid({ url: imidUrl, appId, apiKey });
  const users = new Map<string, User>();
  const sessions = new Map<string, Session>();

  // All that differs between the schemes here: where an imId comes from, and which address is handed out.
  const schemes = {
    composed: {
      async mint(uid: string): Promise<string> {
        tell('composed', 'backend', 'needs no imid for this: appId + uid');
        return `${appId}:${uid}`;
      },
      address: (user: User): Address => ({ uid: user.id }),
    },
    registered: {
      async mint(userId: string): Promise<string> {
        tell('registered', 'backend', `→ imid: register ${JSON.stringify({ userId })}`);
        const { status, imId } = await imid.register(userId);
        tell('registered', 'backend', `← ${status} ${imId}`);
        return imId;
      },
      address: (user: User): Address => ({ imId: user.imId }),
    },
  };

  const find = (id: string): User => {
    const user = users.get(id);
    if (!user) throw new Error(`Nobody is called ${id} here.`);
    return user;
  };

  function keep(scheme: Scheme, user: User): void {
    users.set(user.id, user);
    tell(scheme, 'backend', `keeps ${user.id} = ${user.imId}`);
  }

  function openSession(session: Session): { session: string } {
    const key = randomUUID();
    sessions.set(key, session);
    return { session: key };
  }

  const toContact = (scheme: Scheme, user: User): Contact => ({
    ...schemes[scheme].address(user),
    displayName: user.name,
  });

  /** For whoever comes. */
  const open: Record<string, (greeting: Greeting) => Promise<object>> = {
    async 'POST /signup'({ id, name, scheme }) {
      const user = { id, name, imId: await schemes[scheme].mint(id), contacts: [] };
      keep(scheme, user);
      return openSession({ user, scheme });
    },
    async 'POST /login'({ id, scheme }) {
      return openSession({ user: find(id), scheme });
    },
  };

  /** For whoever has a session. */
  const guarded: Record<string, (session: Session, body: { deviceId: string }) => Promise<object>> = {
    async 'POST /token'({ user, scheme }, { deviceId }) {
      const address = schemes[scheme].address(user);
      tell(scheme, 'backend', `→ imid: a token for ${JSON.stringify(address)}`);
      return { token: await imid.issueToken(address, deviceId) };
    },
    async 'GET /contacts'({ user, scheme }) {
      return user.contacts.map((contact) => toContact(scheme, contact));
    },
  };

  async function answer(request: IncomingMessage): Promise<object> {
    const route = `${request.method} ${request.url}`;
    const body = request.method === 'POST' ? await json(request) : {};
    if (open[route]) return open[route](body as Greeting);
    const session = sessions.get(request.headers.authorization?.replace('Bearer ', '') ?? '');
    if (!session || !guarded[route]) throw new Error(`${route} is not for you.`);
    return guarded[route](session, body as { deviceId: string });
  }

  const server = createServer((request, response) => {
    answer(request).then(
      (body) => response.setHeader('content-type', 'application/json').end(JSON.stringify(body)),
      (error: Error) => response.writeHead(500).end(error.message),
    );
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    imid,
    imIdOf: (id: string): string => find(id).imId,

    /** Makes two users contacts of each other, here and at imid. */
    async introduce(...[one, other]: [string, string]): Promise<void> {
      find(one).contacts.push(find(other));
      find(other).contacts.push(find(one));
      for (const { imId, contacts } of [find(one), find(other)])
        await imid.putContacts(
          imId,
          contacts.map((contact) => toContact('registered', contact)),
        );
    },

    /** Moves a user of the composed scheme to the registered one. */
    async register(id: string): Promise<void> {
      const user = find(id);
      user.imId = await schemes.registered.mint(id);
      keep('registered', user);
    },

    [Symbol.dispose](): void {
      server.close();
      server.closeAllConnections();
    },
  };
}
