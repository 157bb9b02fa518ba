// Clients that all come back at once to a service that was gone: no back-off, no jitter, as soon as its port answers. Only
// a connection that the system refuses, since nobody listens yet, is tried again; everything else counts as trouble.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { ADMIN_KEY, call, createDatabase, type Json } from './harness.ts';
import { findFreePort } from './nats.ts';
import { Process } from './process.ts';

const LIST_MAX = 1000;
const CALLS_AT_ONCE = 20;
/** How long all of them together may take. */
const WAIT_MS = 60_000;
const LOOK_MS = 10;
const SHOWN_TROUBLES = 10;

export interface Return {
  /** Until the port answered again, and from then on until everybody was welcome. */
  downMs: number;
  welcomeMs: number;
}

export type Storm = Awaited<ReturnType<typeof startStorm>>;

/** Everybody is connected, and has a message. */
export async function startStorm(count: number) {
  const { name, connection } = await createDatabase();
  const port = await findFreePort();
  const url = `http://127.0.0.1:${port}`;
  const env = {
    DATABASE_URL: `postgres://${connection.user}@localhost:${connection.port}/${name}?host=${connection.host}`,
    IMID_ADMIN_KEY: ADMIN_KEY,
    IMID_SECRET: 'secret-of-the-storm',
    LOG_LEVEL: 'silent',
    PORT: String(port),
  };
  let service = new Process(env);
  await service.url();

  const ask = async (path: string, body: object): Promise<Json> => {
    const answer = await call(url, 'POST', path, { body });
    assert.equal(answer.status, 201, answer.text);
    return answer.body;
  };
  const { appId } = await ask('/v1/apps', { name: 'storm', schemes: ['composed'] });
  const path = `/v1/apps/${appId}`;

  const uids = Array.from({ length: count }, (_, i) => `u${i}`);
  const returners: Returner[] = [];
  const left = uids.values();
  const issue = async (): Promise<void> => {
    for (const uid of left) {
      const { token } = await ask(`${path}/tokens`, { uid });
      returners.push(new Returner(url, token));
    }
  };
  await Promise.all(Array.from({ length: CALLS_AT_ONCE }, issue));

  /** Throws on the first trouble of anybody. */
  async function all(what: string, holds: (returner: Returner) => boolean): Promise<void> {
    const end = performance.now() + WAIT_MS;
    for (;;) {
      const troubles = returners.flatMap((returner) => returner.troubles);
      assert.deepEqual(troubles.slice(0, SHOWN_TROUBLES), [], `${troubles.length} troubles`);
      const missing = returners.filter((returner) => !holds(returner)).length;
      if (missing === 0) return;
      assert.ok(performance.now() < end, `${missing} of ${count} wait in vain for ${what}`);
      await sleep(LOOK_MS);
    }
  }

  let sent = 0;
  /** To everybody, who gets it once, with the next seq. */
  async function tellAll(): Promise<void> {
    sent += 1;
    for (let from = 0; from < count; from += LIST_MAX) {
      const to = uids.slice(from, from + LIST_MAX).map((uid) => ({ uid }));
      const { results } = await ask(`${path}/messages`, { from: { uid: 'teller' }, to, content: sent });
      assert.ok(results.every(({ seq }: Json) => seq === sent));
    }
    await all('a message', ({ seq }) => seq === sent);
  }

  for (const returner of returners) returner.connect();
  await all('a welcome', ({ isWelcome }) => isWelcome);
  await tellAll();

  return {
    tellAll,

    /** Ends the service and starts it again; gives back when everybody is there again. */
    async comeBack(signal: 'SIGTERM' | 'SIGKILL'): Promise<Return> {
      for (const returner of returners) returner.expectsEnd = true;
      assert.equal(await service.end(signal), signal === 'SIGTERM' ? 0 : null, service.output);
      await all('the end', ({ closed }) => closed === (signal === 'SIGTERM' ? 1001 : 1006));
      const from = performance.now();
      service = new Process(env);
      while (!(await isListening(port))) await sleep(1);
      const up = performance.now();
      for (const returner of returners) returner.connect();
      await all('a welcome', ({ isWelcome }) => isWelcome);
      return { downMs: up - from, welcomeMs: performance.now() - up };
    },

    async close(): Promise<void> {
      for (const returner of returners) returner.close();
      await service.end('SIGTERM');
    },
  };
}

/** The device of one user. */
class Returner {
  /** Of the last message that it was shown. */
  seq = 0;
  isWelcome = false;
  /** With what code the last connection ended. */
  closed: number | undefined;
  /** The service is about to end. */
  expectsEnd = false;
  readonly troubles: string[] = [];
  readonly #url: string;
  readonly #token: string;
  #epoch: string | undefined;
  #socket: WebSocket | undefined;

  constructor(url: string, token: string) {
    this.#url = url.replace('http', 'ws');
    this.#token = token;
  }

  connect(): void {
    const query = new URLSearchParams({ device: 'phone', after: String(this.seq) });
    if (this.#epoch !== undefined) query.set('epoch', this.#epoch);
    const socket = new WebSocket(`${this.#url}/v1/connect?${query.toString()}`, 'imid.v1', {
      headers: { authorization: `Bearer ${this.#token}` },
      perMessageDeflate: false,
    });
    this.#socket = socket;
    this.closed = undefined;
    let isRefused = false;
    socket.on('message', (data: Buffer) => this.#receive(JSON.parse(data.toString())));
    // Also where the upgrade is refused.
    socket.on('error', (error: NodeJS.ErrnoException) => {
      isRefused = error.code === 'ECONNREFUSED';
      if (!isRefused && !this.expectsEnd) this.troubles.push(error.message);
    });
    socket.on('close', (code) => {
      if (isRefused) return this.connect();
      this.isWelcome = false;
      this.closed = code;
      if (!this.expectsEnd) this.troubles.push(`closed ${code}`);
      this.expectsEnd = false;
    });
  }

  close(): void {
    this.expectsEnd = true;
    this.#socket?.terminate();
  }

  #receive(frame: Json): void {
    if (frame.type === 'welcome') {
      this.isWelcome = true;
      this.#epoch = frame.epoch;
      if (!frame.resumed) this.troubles.push(`not resumed: ${JSON.stringify(frame)}`);
    } else if (frame.type === 'message' && frame.seq === this.seq + 1) this.seq = frame.seq;
    else this.troubles.push(`behind seq ${this.seq}: ${JSON.stringify(frame)}`);
  }
}

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
