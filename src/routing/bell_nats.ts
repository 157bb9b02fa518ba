// The bell's line through NATS core: a subject per process.
// Invariants: a subject names a process and nothing else; NATS's own reconnecting is off, since it holds back what is
// published meanwhile, without bound.

import { connect, TimeoutError, type ConnectionOptions, type NatsConnection } from '@nats-io/transport-node';
import type { Dial } from './bell_line.ts';

const CONNECT_TIMEOUT_MS = 3_000;
const REDIAL_MIN_MS = 500;
const REDIAL_MAX_MS = 1_500;

const subjectOf = (processId: string): string => `imid.${processId}`;

export function dialNats(url: string): Dial {
  const options = parseNatsUrl(url);
  // A dial that times out leaves its socket behind, and only the next dial of the same connection closes it (3.4.0). So
  // where NATS is frozen, one connection goes on dialling, rather than many that dial once.
  let isFrozen = false;

  return async ({ processId, hear, lost, signal }) => {
    const connection = await connect({
      ...options,
      name: `imid ${processId}`,
      timeout: CONNECT_TIMEOUT_MS,
      reconnect: false,
      waitOnFirstConnect: isFrozen,
      // Asked before every dial: what it throws ends them.
      reconnectDelayHandler() {
        signal.throwIfAborted();
        return REDIAL_MIN_MS + Math.random() * (REDIAL_MAX_MS - REDIAL_MIN_MS);
      },
    }).catch((error: unknown) => {
      isFrozen = error instanceof TimeoutError;
      throw error;
    });
    isFrozen = false;
    void connection.closed().then((error) => lost(error ?? new Error('NATS ended the connection')));
    void watch(connection, lost);
    connection.subscribe(subjectOf(processId), {
      callback: (error, message) => (error ? lost(error) : hear(message.string())),
    });
    return {
      async send(notes) {
        for (const { processId: to, note } of notes) connection.publish(subjectOf(to), note);
        await connection.flush();
      },
      hangUp: () => connection.close(),
    };
  };
}

/** What NATS complains of, such as a subject that isn't allowed: a bell of which a part doesn't work is none. */
async function watch(connection: NatsConnection, lost: (reason: unknown) => void): Promise<void> {
  for await (const status of connection.status()) if (status.type === 'error') lost(status.error);
}

/** The client takes hosts and, apart from them, one set of credentials. */
function parseNatsUrl(text: string): ConnectionOptions {
  const urls = text.split(',').map((each) => new URL(each.trim()));
  const { username = '', password = '' } = urls.find((url) => url.username) ?? {};
  const [user, pass] = [username, password].map(decodeURIComponent);
  return {
    servers: urls.map((url) => url.host),
    ...(urls.some((url) => url.protocol === 'tls:') ? { tls: {} } : {}),
    ...(pass ? { user: user!, pass } : user ? { token: user } : {}),
  };
}
