// What tests share: a service of their own on a database of their own, callers of its REST API, and clients on its
// socket that remember every frame. Waits for facts, with a limit, and never sleeps.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Agent, request, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text as readText } from 'node:stream/consumers';
import { after } from 'node:test';
import pg from 'pg';
import { WebSocket } from 'ws';
import { createApp, type AppOptions } from '../src/app.ts';
import { openDatabase, type Database } from '../src/store/database.ts';
import { ADMIN_KEY, keepLog, SECRET } from './logs.ts';

export { ADMIN_KEY };
const WAIT_MS = 10_000;
const agent = new Agent({ keepAlive: true });

export type Json = any;

export interface Answer {
  status: number;
  headers: Headers;
  body: Json;
  text: string;
}

export interface CallOptions {
  key?: string | undefined;
  body?: unknown;
  headers?: Record<string, string>;
}

export interface Service {
  url: string;
  database: Database;
  databaseName: string;
  call(method: string, path: string, options?: CallOptions): Promise<Answer>;
  connect(token: string, query?: Record<string, string | number>): Promise<Client>;
  createApp(schemes?: string[]): Promise<Tenant>;
  /** Of the connection that has the most: bytes written to it and not yet taken by the network. */
  buffered(): number;
  close(): Promise<void>;
}

/** An app with what a backend and its clients do all the time. */
export interface Tenant {
  appId: string;
  apiKey: string;
  path: string;
  call(method: string, path: string, body?: unknown): Promise<Answer>;
  /** What a client asks for, below /v1/me. */
  as(address: object, method: string, path: string, body?: unknown): Promise<Answer>;
  register(userId: string, adopt?: unknown): Promise<string>;
  token(address: object): Promise<string>;
  connect(address: object, query?: Record<string, string | number>): Promise<Client>;
  inbox(imId: string): Promise<Json[]>;
}

const open = new Set<Service>();
after(() => Promise.all([...open].map((service) => service.close())));

export async function createDatabase(): Promise<{ name: string; connection: pg.PoolConfig }> {
  const name = `test_${randomBytes(8).toString('hex')}`;
  const admin = new pg.Client(findDatabase('postgres').connection);
  await admin.connect();
  await admin.query(`create database ${name} template imid_template`);
  await admin.end();
  return findDatabase(name);
}

/** As DATABASE_URL has it. */
export const urlOf = ({ user, host, port }: pg.PoolConfig, name: string): string =>
  `postgres://${user}@localhost:${port}/${name}?host=${host}`;

/** A database of the Postgres that test/setup.ts started. */
function findDatabase(name: string): { name: string; connection: pg.PoolConfig } {
  const connection = JSON.parse(process.env['IMID_TEST_CONNECTION']!) as pg.PoolConfig;
  return { name, connection: { ...connection, database: name } };
}

export interface ServiceOptions {
  /** On another one's database: a second process for all that matters. */
  on?: Service;
  /** On a database of the test's own. */
  at?: { name: string; connection: pg.PoolConfig };
  app?: Partial<AppOptions>;
}

export async function startService(options: ServiceOptions = {}): Promise<Service> {
  const { name, connection } =
    options.at ?? (options.on ? findDatabase(options.on.databaseName) : await createDatabase());
  const database = await openDatabase({ connection: { ...connection, max: 5 }, log: () => {} });
  const app = await createAppOn(database, options.app);
  await app.listen({ port: 0, host: '127.0.0.1' });
  const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  let isClosed = false;
  const service: Service = {
    url,
    database,
    databaseName: name,
    call: (method, path, callOptions) => call(url, method, path, callOptions),
    connect: (token, query) => connect(url, token, query),
    buffered: () => Math.max(...[...app.websocketServer.clients].map((socket) => socket.bufferedAmount)),
    createApp: (schemes = ['composed', 'registered']) => createTenant(service, schemes),
    async close() {
      if (isClosed) return;
      isClosed = true;
      await app.close();
      await database.close();
    },
  };
  open.add(service);
  return service;
}

async function createAppOn(database: Database, options: Partial<AppOptions> = {}) {
  try {
    return await createApp({
      database,
      adminKey: ADMIN_KEY,
      secret: SECRET,
      publicUrl: 'https://imid.example',
      logLevel: 'debug',
      ...options,
      logTo: {
        write(line) {
          keepLog(line);
          options.logTo?.write(line);
        },
      },
    });
  } catch (error) {
    await database.close();
    throw error;
  }
}

/** Asked by `node:http`, which takes half the CPU time of `fetch`. */
export async function call(
  url: string,
  method: string,
  path: string,
  options: CallOptions = {},
): Promise<Answer> {
  const { key = ADMIN_KEY, body, headers = {} } = options;
  const bytes = toBytes(body);
  const asked = request(url + path, {
    method,
    agent,
    headers: {
      ...(key === '' ? {} : { authorization: `Bearer ${key}` }),
      ...(bytes && { 'content-type': 'application/json', 'content-length': bytes.length }),
      ...headers,
    },
  });
  asked.end(bytes);
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  const text = await readText(response);
  const isJson = /application\/(problem\+)?json/.test(response.headers['content-type'] ?? '');
  return {
    status: response.statusCode!,
    headers: new Headers(
      Object.entries(response.headersDistinct).flatMap(([name, values = []]) =>
        values.map((value): [string, string] => [name, value]),
      ),
    ),
    body: isJson && text ? JSON.parse(text) : text,
    text,
  };
}

function toBytes(body: unknown): Buffer | undefined {
  if (body === undefined || Buffer.isBuffer(body)) return body;
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
}

async function createTenant(service: Service, schemes: string[]): Promise<Tenant> {
  const { body } = await service.call('POST', '/v1/apps', { body: { name: 'chat', schemes } });
  const { appId, apiKey } = body as { appId: string; apiKey: string };
  const tenant: Tenant = {
    appId,
    apiKey,
    path: `/v1/apps/${appId}`,
    call: (method, path, callBody) =>
      service.call(method, `/v1/apps/${appId}${path}`, { key: apiKey, body: callBody }),
    as: async (address, method, path, callBody) =>
      service.call(method, `/v1/me${path}`, { key: await tenant.token(address), body: callBody }),
    async register(userId, adopt) {
      const answer = await tenant.call('POST', '/identities', {
        userId,
        ...(adopt === undefined ? {} : { adopt }),
      });
      if (answer.status > 201) throw new Error(JSON.stringify(answer.body));
      return answer.body.imId as string;
    },
    async token(address) {
      const answer = await tenant.call('POST', '/tokens', address);
      if (answer.status !== 201) throw new Error(JSON.stringify(answer.body));
      return answer.body.token as string;
    },
    connect: async (address, query) => service.connect(await tenant.token(address), query),
    async inbox(imId) {
      const answer = await tenant.call('GET', `/messages?imId=${encodeURIComponent(imId)}&limit=1000`);
      if (answer.status !== 200) throw new Error(JSON.stringify(answer.body));
      return answer.body.items as Json[];
    },
  };
  return tenant;
}

/** A client on the socket. */
export class Client {
  readonly socket: WebSocket;
  readonly frames: Json[] = [];
  closed: { code: number; reason: string } | undefined;
  readonly #waiting = new Set<() => void>();
  #ids = 0;

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data: Buffer) => {
      this.frames.push(JSON.parse(data.toString()));
      for (const check of this.#waiting) check();
    });
    socket.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString() };
      for (const check of this.#waiting) check();
    });
    socket.on('error', () => {});
  }

  send(frame: unknown): void {
    this.socket.send(typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame));
  }

  /** Sends a message and gives back the `sent` or `error` that answers it. */
  async say(
    to: object,
    content: unknown,
    id = `id-${(this.#ids += 1)}-${this.socket.url.length}-${randomBytes(4).toString('hex')}`,
  ): Promise<Json> {
    const seen = this.frames.length;
    this.send({ type: 'send', id, to, content });
    return this.wait((frame) => frame.id === id && (frame.type === 'sent' || frame.type === 'error'), seen);
  }

  /** The first frame, from place `from` on, that passes. */
  wait(test: (frame: Json) => boolean, from = 0): Promise<Json> {
    return this.#until(() => this.frames.slice(from).find(test), 'a frame');
  }

  /** All messages, once there are at least `count`. */
  async messages(count: number): Promise<Json[]> {
    const ofType = (): Json[] => this.frames.filter((frame) => frame.type === 'message');
    await this.#until(() => ofType().length >= count || undefined, `${count} messages`);
    return ofType();
  }

  get welcome(): Json {
    return this.frames.find((frame) => frame.type === 'welcome');
  }

  waitClosed(): Promise<{ code: number; reason: string }> {
    return this.#until(() => this.closed, 'the close');
  }

  async close(): Promise<void> {
    this.socket.close();
    await this.waitClosed();
  }

  /** Fails once it is closed, since nothing comes any more. */
  #until<T>(look: () => T | undefined, what: string): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const settle = (): void => {
      clearTimeout(timer);
      this.#waiting.delete(check);
    };
    const fail = (): void => {
      settle();
      reject(
        new Error(
          `waited in vain for ${what}; closed: ${JSON.stringify(this.closed)}; frames: ${JSON.stringify(this.frames.slice(-20))}`,
        ),
      );
    };
    const timer = setTimeout(fail, WAIT_MS);
    const check = (): void => {
      const found = look();
      if (found !== undefined) {
        settle();
        resolve(found);
      } else if (this.closed) fail();
    };
    this.#waiting.add(check);
    check();
    return promise;
  }
}

/** Connects and waits for the welcome. Throws `{status, body}` when the upgrade is refused. */
export async function connect(
  url: string,
  token: string,
  query: Record<string, string | number> = {},
): Promise<Client> {
  const search = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]));
  const socket = new WebSocket(`${url.replace('http', 'ws')}/v1/connect?${search.toString()}`, 'imid.v1', {
    headers: { authorization: `Bearer ${token}` },
  });
  const client = new Client(socket);
  const refused = new Promise<never>((_, reject) => {
    socket.on('unexpected-response', (_request, response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        reject(
          new Refused(
            response.statusCode!,
            response.headers as Record<string, string>,
            Buffer.concat(chunks).toString(),
          ),
        ),
      );
    });
  });
  refused.catch(() => {});
  await Promise.race([once(socket, 'open'), refused]);
  await client.wait((frame) => frame.type === 'welcome');
  return client;
}

export class Refused extends Error {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: Json;

  constructor(status: number, headers: Record<string, string>, text: string) {
    super(`the upgrade was refused: ${status} ${text}`);
    this.status = status;
    this.headers = headers;
    this.body = JSON.parse(text);
  }
}

/** Polls a condition until it holds. */
export async function eventually<T>(
  look: () => Promise<T | undefined | false> | T | undefined | false,
  what = 'a condition',
): Promise<T> {
  const end = performance.now() + WAIT_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
