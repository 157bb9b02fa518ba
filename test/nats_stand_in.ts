// What the tests need of a NATS server, as a process of its own that takes the same options, for machines that have
// none: -a <address> -p <port>, and --user <user> --pass <password> or --auth <token>.

import { createServer, type Socket } from 'node:net';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({
  options: {
    a: { type: 'string', short: 'a', default: '127.0.0.1' },
    p: { type: 'string', short: 'p', default: '4222' },
    user: { type: 'string' },
    pass: { type: 'string' },
    auth: { type: 'string' },
  },
});

interface Subscription {
  socket: Socket;
  sid: string;
}

const MAX_PAYLOAD = 1024 * 1024;
const subscriptions = new Map<string, Set<Subscription>>();

createServer((socket) => {
  const own = new Map<string, Subscription & { subject: string }>();
  let unread: Buffer = Buffer.alloc(0);
  let isWelcome = false;

  function unsubscribe(sid: string): void {
    const subscription = own.get(sid);
    if (!subscription) return;
    own.delete(sid);
    subscriptions.get(subscription.subject)?.delete(subscription);
  }

  function refuse(reason: string): void {
    socket.end(`-ERR '${reason}'\r\n`);
  }

  /** False: the payload isn't all there yet. */
  function obey(line: string, rest: Buffer): boolean {
    const [verb = '', ...words] = line.split(/ +/);
    switch (verb.toUpperCase()) {
      case 'CONNECT': {
        const {
          user,
          pass,
          auth_token: token,
        } = JSON.parse(line.slice(verb.length)) as Record<string, string>;
        isWelcome = user === options.user && pass === options.pass && token === options.auth;
        if (!isWelcome) refuse('Authorization Violation');
        return true;
      }
      case 'PING':
        socket.write('PONG\r\n');
        return true;
      case 'PONG':
        return true;
      case 'SUB': {
        const [subject, sid] = [words[0]!, words.at(-1)!];
        const subscription = { socket, sid, subject };
        own.set(sid, subscription);
        subscriptions.set(subject, (subscriptions.get(subject) ?? new Set()).add(subscription));
        return true;
      }
      case 'UNSUB':
        unsubscribe(words[0]!);
        return true;
      case 'PUB': {
        const size = Number(words.at(-1));
        if (rest.length < size + 2) return false;
        for (const to of subscriptions.get(words[0]!) ?? [])
          to.socket.write(
            Buffer.concat([Buffer.from(`MSG ${words[0]} ${to.sid} ${size}\r\n`), rest.subarray(0, size + 2)]),
          );
        unread = rest.subarray(size + 2);
        return true;
      }
      default:
        refuse('Unknown Protocol Operation');
        return true;
    }
  }

  socket.write(
    `INFO ${JSON.stringify({ server_id: 'stand-in', version: '2.9.10', proto: 1, headers: false, max_payload: MAX_PAYLOAD })}\r\n`,
  );
  socket.on('data', (chunk: Buffer) => {
    unread = Buffer.concat([unread, chunk]);
    for (;;) {
      const end = unread.indexOf('\r\n');
      if (end < 0 || socket.writableEnded) return;
      const line = unread.toString('utf8', 0, end);
      const before = unread;
      unread = unread.subarray(end + 2);
      if (!isWelcome && !/^CONNECT /i.test(line)) return refuse('Authorization Violation');
      if (!obey(line, unread)) {
        unread = before;
        return;
      }
    }
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    for (const sid of own.keys()) unsubscribe(sid);
  });
}).listen(Number(options.p), options.a);
