// Token exchange with a real OpenID provider, on loopback: its ID tokens and JWT access tokens, its published keys, and
// their rotation.

import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { decodeProtectedHeader, exportJWK, generateKeyPair } from 'jose';
import { Provider } from 'oidc-provider';
import { eventually, startService, type Answer, type Json } from './harness.ts';

const COOLDOWN_MS = 300;
const TYPE = 'urn:ietf:params:oauth:token-type:';
const CLIENT = 'chat-client';
const REDIRECT = 'https://chat.example/signed-in';
const API = 'urn:chat';

let listener: (...asked: Parameters<RequestListener>) => unknown;
let fetches = 0;
const server = createServer((request, response) => {
  if (request.url === '/jwks') fetches += 1;
  listener(request, response);
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
after(() => {
  server.closeAllConnections();
  server.close();
});
const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const service = await startService({ app: { allowPrivateUrls: true, jwksCooldownMs: COOLDOWN_MS } });
const app = await service.createApp();

/** A provider with new keys, in the place of the one before. */
async function startProvider(...algs: string[]): Promise<void> {
  const keys = await Promise.all(
    algs.map(async (alg) => {
      const { privateKey } = await generateKeyPair(alg, { extractable: true });
      return { ...(await exportJWK(privateKey)), alg, use: 'sig', kid: randomBytes(4).toString('hex') };
    }),
  );
  const provider = new Provider(issuer, {
    jwks: { keys },
    cookies: { keys: ['secret'] },
    clients: [
      {
        client_id: CLIENT,
        client_secret: 'secret',
        grant_types: ['authorization_code', 'client_credentials'],
        redirect_uris: [REDIRECT],
        id_token_signed_response_alg: algs[0] as 'ES256',
      },
    ],
    features: {
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: 'chat',
          audience: API,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: algs[0] as 'ES256' } },
        }),
      },
    },
    ttl: {
      AccessToken: 600,
      ClientCredentials: 600,
      IdToken: 600,
      Grant: 600,
      Interaction: 600,
      Session: 600,
    },
  });
  listener = provider.callback();
}

async function askToken(form: Record<string, string>): Promise<Json> {
  const response = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(`${CLIENT}:secret`)}` },
    body: new URLSearchParams(form),
  });
  const body: Json = await response.json();
  assert.equal(response.status, 200, JSON.stringify(body));
  return body;
}

/** The access token that the client gets for itself. */
const accessToken = async (): Promise<string> =>
  (await askToken({ grant_type: 'client_credentials', resource: API, scope: 'chat' })).access_token;

/** Signs in as a browser does, and gives back the ID token. */
async function signIn(login: string): Promise<string> {
  const cookies = new Map<string, string>();
  const visit = async (url: string, form?: Record<string, string>): Promise<Response> => {
    const response = await fetch(new URL(url, issuer), {
      redirect: 'manual',
      headers: { cookie: Array.from(cookies, (pair) => pair.join('=')).join('; ') },
      ...(form && { method: 'POST', body: new URLSearchParams(form) }),
    });
    await response.text();
    for (const cookie of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie)!;
      cookies.set(name!, value!);
    }
    return response;
  };
  const verifier = randomBytes(32).toString('base64url');
  const query = new URLSearchParams({
    client_id: CLIENT,
    redirect_uri: REDIRECT,
    response_type: 'code',
    scope: 'openid',
    code_challenge: hash('sha256', verifier, 'base64url'),
    code_challenge_method: 'S256',
  });
  let at = `/auth?${query.toString()}`;
  const prompts = [{ prompt: 'login', login, password: 'any' }, { prompt: 'consent' }];
  for (let step = 0; step < 10 && !at.startsWith(REDIRECT); step += 1) {
    const response = await visit(at, at.includes('/interaction/') ? prompts.shift() : undefined);
    at = response.headers.get('location')!;
    assert.ok(at, `${response.status} ended at ${response.url}`);
  }
  const code = new URL(at).searchParams.get('code');
  assert.ok(code, at);
  const form = { grant_type: 'authorization_code', code, redirect_uri: REDIRECT, code_verifier: verifier };
  return (await askToken(form)).id_token;
}

const exchange = (token: string, more: Record<string, string> = {}): Promise<Answer> =>
  service.call('POST', '/oauth/token', {
    key: '',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: token,
      subject_token_type: `${TYPE}id_token`,
      audience: `imid:${app.appId}`,
      ...more,
    }).toString(),
  });

const trust = (more: object = {}): Promise<Answer> =>
  app.call('PUT', '/issuers/login', {
    issuer,
    audience: [CLIENT, API],
    jwksUrl: `${issuer}/jwks`,
    register: true,
    ...more,
  });

test('who signs in at the provider connects as that user, in either scheme', async () => {
  await startProvider('ES256', 'RS256');
  assert.equal((await trust()).status, 201);
  const idToken = await signIn('alice');
  const composed = await exchange(idToken);
  assert.equal(composed.status, 200, composed.text);
  const alice = await service.connect(composed.body.access_token);
  const registered = await exchange(await signIn('bob'), { scope: 'registered' });
  assert.equal(registered.body.scope, 'registered');
  const bob = await service.connect(registered.body.access_token);
  assert.equal((await bob.say({ imId: `${app.appId}:alice` }, 'hello')).type, 'sent');
  const [message] = await alice.messages(1);
  assert.deepEqual([message.from, message.content], [{ uid: 'bob' }, 'hello']);

  const token = await accessToken();
  assert.equal(decodeProtectedHeader(token).typ, 'at+jwt');
  const ofClient = await exchange(token, { subject_token_type: `${TYPE}access_token` });
  assert.equal(ofClient.status, 200, ofClient.text);
  assert.equal(fetches, 1);
});

test('keys that the provider rotates are found, and asked for no more often than it is told', async () => {
  const old = await accessToken();
  await startProvider('EdDSA');
  const token = await accessToken();
  const before = fetches;
  await Promise.all(Array.from({ length: 20 }, () => exchange(token)));
  assert.ok(fetches - before <= 1, `${fetches - before} fetches`);
  await eventually(async () => (await exchange(token)).status === 200, 'the new key');
  const afterRotation = await exchange(old);
  assert.match(afterRotation.body.error_description, /no such key/);
});

test('while the keys can’t be had, it is said when to try again, and why', async () => {
  const token = await accessToken();
  const good = listener;
  const answers: [typeof listener, RegExp][] = [
    [(_, response) => void response.writeHead(302, { location: `${issuer}/jwks2` }).end(), /answers 302/],
    [(_, response) => void response.end('<html>'), /JWK set/],
    [(_, response) => void response.end('x'.repeat(300_000)), /answers more than 262144 bytes/],
    [(_, response) => void response.destroy(), /out of reach/],
  ];
  for (const [bad, why] of answers) {
    listener = bad;
    await trust();
    const before = fetches;
    const { status, body, headers } = await exchange(token);
    assert.deepEqual([status, body.error], [503, 'temporarily_unavailable'], JSON.stringify(body));
    assert.match(body.error_description, why);
    assert.ok(headers.get('retry-after'));
    await exchange(token);
    assert.equal(fetches, before + 1);
  }
  listener = good;
  await eventually(async () => (await exchange(token)).status === 200, 'the keys');
});

test('a made-up kid, while the keys can’t be asked for again, harms nobody whose key is known', async () => {
  await trust();
  const token = await accessToken();
  assert.equal((await exchange(token)).status, 200);
  const [, ...rest] = token.split('.');
  const header = { ...decodeProtectedHeader(token), kid: 'made-up' };
  const madeUp = [Buffer.from(JSON.stringify(header)).toString('base64url'), ...rest].join('.');
  const good = listener;
  listener = (_, response) => void response.writeHead(500).end();
  await eventually(async () => (await exchange(madeUp)).status === 503, 'the failure');
  assert.equal((await exchange(madeUp)).status, 503);
  assert.equal((await exchange(token)).status, 200);
  listener = good;
});

test('of a published set, keys that are weak or meant for something else don’t count', async () => {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
  const [mine, secret] = [await exportJWK(publicKey), await exportJWK(privateKey)];
  const token = await accessToken();
  const { kid, alg } = decodeProtectedHeader(token);
  const good = listener;
  const published: Json = await (await fetch(`${issuer}/jwks`)).json();
  const [key] = published.keys;
  for (const [keys, isGood] of [
    [[{ ...mine, use: 'enc', kid }, { kty: 'oct', k: 'AAAA' }, { ...secret, kid: 'x' }, 7, key], true],
    [[{ ...key, use: 'enc' }], false],
    [[{ ...key, alg: 'ES256' }], false],
    [[key, { ...key }], false],
  ] as const) {
    listener = (_, response) => void response.end(JSON.stringify({ keys }));
    await trust();
    assert.equal((await exchange(token)).status, isGood ? 200 : 400, JSON.stringify([keys, alg]));
  }
  listener = good;
});

test('another process hears within a second that an issuer is trusted no more', async () => {
  await trust();
  const token = await accessToken();
  const second = await startService({ on: service, app: { allowPrivateUrls: true } });
  const ask = (): Promise<Answer> => {
    const body = new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: token,
      subject_token_type: `${TYPE}jwt`,
      audience: `imid:${app.appId}`,
    }).toString();
    return second.call('POST', '/oauth/token', {
      key: '',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body,
    });
  };
  assert.equal((await ask()).status, 200);
  assert.equal((await app.call('DELETE', '/issuers/login')).status, 204);
  assert.equal((await exchange(token)).body.error, 'invalid_target');
  await eventually(async () => (await ask()).body.error === 'invalid_target', 'the refusal');
  await second.close();
});
