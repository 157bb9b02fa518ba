// One HTTP/2 connection to APNs. Asks no more at once than the other side's SETTINGS allow, and one thing until that was
// answered; takes nothing new once it is unusable, and knows of each request that failed whether Apple can have seen it.

import { connect, constants } from 'node:http2';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { ApnsReply } from './apns_answers.ts';
import { createTurns, type Patience } from './apns_turns.ts';

/** Says why in its message, as an outcome does. */
export class ApnsFault extends Error {
  override readonly name = 'ApnsFault';
  /** Apple hasn't seen the request: it may be made again on another connection. */
  readonly isUnseen: boolean;

  constructor(message: string, isUnseen = false) {
    super(message);
    this.isUnseen = isUnseen;
  }
}

export interface Pace {
  /** For a whole request, and for the answer to a ping. */
  timeoutMs: number;
  pingMs: number;
  /** Closed when nobody has used it for so long. */
  idleMs: number;
}

export interface ApnsConnection {
  readonly isUsable: boolean;
  /** Nothing of it is left. */
  readonly isOver: boolean;
  /** Headers by name and value in turn. Throws `ApnsFault` when there is no whole answer, also for want of patience. */
  ask(headers: readonly string[], body: Buffer, patience: Patience): Promise<ApnsReply>;
  /** Takes nothing new, and closes when what is under way has ended. */
  retire(): void;
  /** At once; resolves when it is gone. */
  destroy(): Promise<void>;
}

const ANSWER_MAX_BYTES = 4_096;
const FORBIDDEN = 403;
const HTTPS_PORT = 443;
const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM } = constants;

export function openConnection(origin: string, { timeoutMs, pingMs, idleMs }: Pace): ApnsConnection {
  // A session that has no connection yet doesn't end for being destroyed: its socket must be.
  const socket = openSocket(new URL(origin));
  const session = connect(origin, { createConnection: () => socket, settings: { enablePush: false } });
  const turns = createTurns();
  const closed = new Promise<void>((resolve) => session.once('close', resolve));
  let isUsable = true;
  let isReady = false;
  let isProven = false;
  /** Behind it nothing was seen, says the other side. */
  let lastSeenId = Infinity;
  let why = '';
  let idling: NodeJS.Timeout | undefined;

  function retire(): void {
    clearTimeout(idling);
    if (isUsable) {
      isUsable = false;
      turns.stop(
        isReady
          ? new ApnsFault(`closed: the connection to APNs was closed${why}`, true)
          : new ApnsFault(`unreachable: APNs can't be connected to${why}`),
      );
    }
    if (turns.taken === 0) end();
  }

  function end(): void {
    session.destroy();
    socket.destroy();
  }

  function obeySettings(): void {
    if (isReady) turns.limit = isProven ? (session.remoteSettings.maxConcurrentStreams ?? Infinity) : 1;
  }

  session.on('remoteSettings', () => {
    isReady = true;
    obeySettings();
  });
  session.on('error', (error: NodeJS.ErrnoException) => {
    why ||= ` (${error.code ?? 'for a reason unknown'})`;
  });
  session.on('goaway', (_code, lastStreamId, opaque) => {
    const reason = /"reason"\s*:\s*"([A-Za-z]{1,50})"/.exec(opaque?.toString() ?? '')?.[1];
    if (reason) why = ` (${reason})`;
    lastSeenId = lastStreamId;
    retire();
  });
  session.on('close', () => {
    clearInterval(pinging);
    retire();
  });

  // Where the other end has vanished, nothing else says so.
  const pinging = setInterval(() => {
    if (session.connecting || session.destroyed) return;
    const missing = setTimeout(() => {
      why = ' (it answers no ping)';
      end();
    }, timeoutMs).unref();
    session.ping(() => clearTimeout(missing));
  }, pingMs).unref();

  function exchange(headers: readonly string[], body: Buffer, patience: Patience): Promise<ApnsReply> {
    // Node knows of a GOAWAY a tick earlier than it tells.
    if (session.closed) throw new ApnsFault(`closed: the connection to APNs is closing${why}`, true);
    const stream = session.request(headers);
    patience.onOver = () => {
      stream.close(NGHTTP2_CANCEL);
      stream.destroy(); // to close it waits for the other end to read, which it may never do
    };
    let answered: ApnsReply['headers'] | undefined;
    let chunks: Buffer[] | undefined;
    let size = 0;
    stream.on('response', (received) => (answered = received));
    stream.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= ANSWER_MAX_BYTES) (chunks ??= []).push(chunk);
      else stream.close(NGHTTP2_CANCEL);
    });
    // What it was is to be seen at `close`, which always comes.
    stream.on('error', () => undefined);
    stream.end(body);
    return new Promise((resolve, reject) => {
      stream.on('close', () => {
        const { id, rstCode } = stream;
        if (size > ANSWER_MAX_BYTES)
          return reject(new ApnsFault(`malformed: APNs answers more than ${ANSWER_MAX_BYTES} bytes`));
        // Where the connection ends, the stream ends like a whole one, but for this.
        if (answered && rstCode === NGHTTP2_NO_ERROR)
          return resolve({
            status: Number(answered[':status']),
            headers: answered,
            body: chunks ? Buffer.concat(chunks).toString() : '',
          });
        const isUnseen = rstCode === NGHTTP2_REFUSED_STREAM || id === undefined || id > lastSeenId;
        return reject(new ApnsFault(`closed: APNs broke off before it had answered${why}`, isUnseen));
      });
    });
  }

  function rest(): void {
    if (!isUsable) retire();
    else if (turns.taken === 0) idling = setTimeout(retire, idleMs).unref();
  }

  return {
    get isOver() {
      return session.destroyed;
    },
    get isUsable() {
      return isUsable && !session.closed;
    },

    async ask(headers, body, patience) {
      if (!turns.tryTake()) await turns.take(patience);
      clearTimeout(idling);
      try {
        const reply = await exchange(headers, body, patience);
        isProven ||= reply.status !== FORBIDDEN;
        obeySettings();
        return reply;
      } finally {
        turns.give();
        rest();
      }
    },

    retire,

    async destroy() {
      end();
      await closed;
    },
  };
}

function openSocket({ protocol, hostname, port }: URL): Socket {
  if (protocol === 'http:') return connectTcp(Number(port), hostname);
  return connectTls({
    host: hostname,
    servername: hostname,
    port: Number(port || HTTPS_PORT),
    ALPNProtocols: ['h2'],
  });
}
