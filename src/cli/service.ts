// Calls of the service's REST API whose bodies are streams, in both directions at once.

import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import http, { type ClientRequest, type IncomingMessage } from 'node:http';
import https from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { readCliConfig } from '../config.ts';
import { Failure } from './failure.ts';

/** The options of all commands. */
export interface ServiceOptions {
  url?: string;
  key?: string;
}

export type Service = Awaited<ReturnType<typeof findService>>;

/** The service that the options, else the environment, name. */
export async function findService(options: ServiceOptions) {
  const config = readCliConfig();
  const url = URL.parse(options.url ?? config.url);
  if (!url || !/^https?:$/.test(url.protocol))
    throw new Failure('usage', `--url must be an http or https URL, not ${options.url}.`);
  const key = options.key ?? config.key ?? (await findAdminKey(config.directory));
  const base = url.href.replace(/\/+$/, '');

  return {
    url: base,
    /** Begins a call; its body is what is written to it. */
    begin(method: string, path: string, headers: Record<string, string> = {}): ClientRequest {
      const { request } = url.protocol === 'https:' ? https : http;
      return request(base + path, { method, headers: { authorization: `Bearer ${key}`, ...headers } });
    },
    /** The answer, as soon as it begins, whatever it is. */
    async responseTo(call: ClientRequest): Promise<IncomingMessage> {
      const [answer] = (await once(call, 'response').catch((error: Error) => {
        throw new Failure('service', `The service at ${base} can't be reached: ${reasonOf(error)}.`);
      })) as [IncomingMessage];
      return answer;
    },
    /** As `responseTo`, but throws what the service says when it refuses. */
    async answerTo(call: ClientRequest): Promise<IncomingMessage> {
      const answer = await this.responseTo(call);
      if ((answer.statusCode ?? 0) < 300) return answer;
      throw new Failure('service', `The service at ${base} refused: ${await readProblem(answer)}`);
    },
  };
}

async function findAdminKey(directory: string): Promise<string> {
  const file = join(directory, 'admin.key');
  const key = await readFile(file, 'utf8').catch(() => '');
  if (key.trim() !== '') return key.trim();
  throw new Failure(
    'usage',
    `There is no key: give --key, or set IMID_API_KEY or IMID_ADMIN_KEY; and there is none in ${file}.`,
  );
}

async function readProblem(answer: IncomingMessage): Promise<string> {
  const body = await text(answer).catch(() => '');
  try {
    const { detail, code } = JSON.parse(body) as { detail: string; code: string };
    return `${detail} (${code})`;
  } catch {
    return `${answer.statusCode} ${answer.statusMessage}`;
  }
}

/** What went wrong, in one line. Where several addresses of a host were tried, each has its own reason. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join('; ');
  return error instanceof Error ? error.message : String(error);
}
