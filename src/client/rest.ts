// What is asked by HTTP: all below /v1/me. What isn't a success is an ImidError.

import { ImidError } from './errors.ts';
import { readJson } from './shelf.ts';
import type { Token, Tokens } from './tokens.ts';

export type Rest = ReturnType<typeof createRest>;

type Query = Record<string, string | number | undefined>;

export function createRest({ url, tokens, timeoutMs }: { url: string; tokens: Tokens; timeoutMs: number }) {
  async function ask(token: Token, method: string, path: string, body?: object): Promise<unknown> {
    const response = await fetch(`${url}/v1/me${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token.text}`,
        ...(body && { 'content-type': 'application/json' }),
      },
      signal: AbortSignal.timeout(timeoutMs),
      ...(body && { body: JSON.stringify(body) }),
    }).catch(lose);
    const text = await response.text().catch(lose);
    const answer = readJson(text);
    if (response.ok && (answer !== undefined || text === '')) return answer;
    const { code, detail } = (answer ?? {}) as { code?: string; detail?: string };
    throw new ImidError(code ?? 'unavailable', detail ?? `Answered with ${response.status}.`, {
      retryAfterMs: Number(response.headers.get('retry-after')) * 1000 || undefined,
    });
  }

  async function call(method: string, path: string, body?: object): Promise<unknown> {
    const token = await tokens.get();
    if (!token) throw new ImidError('no_token', 'Nobody is logged in.');
    try {
      return await ask(token, method, path, body);
    } catch (error) {
      const reason = refusalOf(error as ImidError);
      const fresh = reason && (await tokens.renew(reason, token));
      if (!fresh) throw error;
      return ask(fresh, method, path, body);
    }
  }

  return {
    get: (path: string, query: Query = {}): Promise<unknown> => call('GET', path + toSearch(query)),
    put: (path: string, body: object): Promise<unknown> => call('PUT', path, body),
    patch: (path: string, body: object): Promise<unknown> => call('PATCH', path, body),
    /** Why a connection isn't let in, as far as its token, its page or the network is the reason. */
    findFault: (token: Token): Promise<ImidError | undefined> =>
      ask(token, 'GET', '').then(
        () => undefined,
        (error: ImidError) => error,
      ),
  };
}

function lose(cause: unknown): never {
  throw new ImidError('no_network', 'Nobody answers.', { cause });
}

/** Where a token was not taken: what to ask for the next one with. */
export function refusalOf({ code }: ImidError): 'expired' | 'refused' | undefined {
  if (code === 'token_expired') return 'expired';
  return code === 'unauthorized' || code === 'token_revoked' ? 'refused' : undefined;
}

function toSearch(query: Query): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  return given.length === 0
    ? ''
    : `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString()}`;
}
