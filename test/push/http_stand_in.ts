// A provider over HTTP, on loopback: looks at every request as its provider does, and then behaves as it is told to.

import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import type { Conduct } from './contract.ts';

export interface Asked {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

export interface Answer {
  status: number;
  headers?: Record<string, string>;
  body?: string | object;
}

/** A request that its provider wouldn't take. */
export class Refused extends Error {
  answer: Answer;
  constructor(why: string, answer: Answer) {
    super(why);
    this.answer = answer;
  }
}

/** A test, or the file of several. */
export interface Running {
  after(end: () => void): void;
  diagnostic(message: string): void;
}

export interface HttpStandIn {
  url: string;
  conduct(conduct: Conduct | Answer): void;
  asked: Asked[];
  /** How many connections there ever were. */
  connections(): number;
}

/** `take` throws `Refused`, or says what the answer is while all is well; `answers` are those of the other conducts. */
export async function startHttpStandIn(
  t: Running,
  take: (asked: Asked, conduct: Conduct | Answer) => Answer | Promise<Answer>,
  answers: Partial<Record<Conduct, Answer>>,
): Promise<HttpStandIn> {
  let conduct: Conduct | Answer = 'accept';
  const asked: Asked[] = [];
  let connections = 0;

  async function judge(each: Asked): Promise<Answer> {
    try {
      return await take(each, conduct);
    } catch (error) {
      t.diagnostic(`refused: ${error instanceof Error ? error.message : String(error)}`);
      return error instanceof Refused ? error.answer : { status: 400 };
    }
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method, url, headers } = request;
    const each = { method: method!, path: url!, headers, body: await buffer(request) };
    asked.push(each);
    const judged = await judge(each);
    const { status, headers: said, body = '' } = answerOf(conduct, judged, answers);
    if (conduct === 'silent') return;
    if (conduct === 'nonsense' && !answers.nonsense) {
      request.socket.end('nothing that is HTTP\r\n\r\n');
    } else if (conduct === 'cut') {
      response.writeHead(200, { 'content-length': '1000' });
      response.write('{"a": ', () => request.socket.destroy());
    } else if (conduct === 'endless') {
      pour(response.writeHead(200));
    } else response.writeHead(status, said).end(typeof body === 'string' ? body : JSON.stringify(body));
  }

  const server = createServer((request, response) => void serve(request, response));
  server.on('connection', () => (connections += 1));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    conduct: (other) => void (conduct = other),
    asked,
    connections: () => connections,
  };
}

function answerOf(
  conduct: Conduct | Answer,
  judged: Answer,
  answers: Partial<Record<Conduct, Answer>>,
): Answer {
  if (typeof conduct === 'object') return conduct;
  if (conduct === 'broken') return { status: 502 };
  return answers[conduct] ?? judged;
}

function pour(response: ServerResponse): void {
  const more = (): void => {
    while (!response.destroyed && response.write('x'.repeat(4_096)));
  };
  response.on('drain', more);
  more();
}
