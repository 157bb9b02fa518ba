// Requests to URLs that customers choose. Goes to no address but public ones, unless the operator allows it, whatever a
// name resolves to and whenever (no DNS rebinding, no redirects); takes no longer and reads no more than it is told.

import { lookup as systemLookup, type LookupAddress } from 'node:dns';
import { Resolver } from 'node:dns/promises';
import { Agent as HttpAgent, request as requestHttp } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import { BlockList, isIP, type LookupFunction } from 'node:net';

export interface Outbound {
  /** Why this URL is never asked, in words that end a sentence about it; undefined when it may be. */
  faultOf(url: string): string | undefined;
  /** Throws `OutboundError` when there is no whole answer. */
  fetch(url: string, options: OutboundRequest): Promise<OutboundAnswer>;
  /** Ends the connections that are kept for the next request. */
  close(): void;
}

export interface OutboundRequest {
  method?: 'GET' | 'POST';
  headers?: Record<string, string>;
  body?: string | Buffer;
  /** For all of it, from the look-up of the name to the last byte. */
  timeoutMs: number;
  /** Of the answer's body. */
  maxBytes: number;
  /** A longer one is cut off, where only the status counts; else there is no answer. */
  cutsBody?: boolean | undefined;
  /** Ends it sooner. */
  signal?: AbortSignal | undefined;
}

export interface OutboundAnswer {
  status: number;
  headers: Readonly<Record<string, string | string[] | undefined>>;
  body: Buffer;
}

/** Says why in its message, for the customer whose URL it is. */
export class OutboundError extends Error {
  override readonly name = 'OutboundError';

  /** What the system or TLS calls it, such as `ECONNREFUSED` or `CERT_HAS_EXPIRED`, where it was one of them. */
  get systemCode(): string | undefined {
    const { code } = (this.cause ?? {}) as { code?: unknown };
    return typeof code === 'string' && /^[A-Z][A-Z\d_]+$/.test(code) && code !== 'ABORT_ERR'
      ? code
      : undefined;
  }
}

/** As `dns.lookup` with `all`; another one in tests. */
export type Resolve = (
  hostname: string,
  done: (error: Error | null, addresses: LookupAddress[]) => void,
) => void;

export interface OutboundOptions {
  /** Private and loopback addresses, and http, are fine. */
  allowPrivate: boolean;
  resolve?: Resolve | undefined;
  /** How long a connection is kept for the next request to its host. Undefined: each request makes its own. */
  keepAliveMs?: number | undefined;
}

const URL_MAX_LENGTH = 2_000;
const HTTPS_PORT = 443;
/** Below are the ports of other protocols. */
const FIRST_FREE_PORT = 1_024;
const DNS_TIMEOUT_MS = 1_000;
const DNS_TRIES = 3;
const PRIVATE = 'is at a private or reserved address';

// The special-purpose registries of IANA (RFC 6890): what isn't globally reachable.
const closedV4 = listOf('ipv4', [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
]);
// Of IPv6 only this is global unicast, so that whatever carries an IPv4 address inside (::/96, ::ffff:0:0/96, 64:ff9b::/96,
// 64:ff9b:1::/48), and fc00::/7, fe80::/10, ff00::/8, are out with everything else; 6to4 and Teredo lie within it.
const globalV6 = listOf('ipv6', [['2000::', 3]]);
const closedV6 = listOf('ipv6', [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
]);

function listOf(family: 'ipv4' | 'ipv6', subnets: readonly (readonly [string, number])[]): BlockList {
  const list = new BlockList();
  for (const [net, prefix] of subnets) list.addSubnet(net, prefix, family);
  return list;
}

/** Whether an address, as a socket takes it, is one of the public internet. */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !closedV4.check(address, 'ipv4');
  if (family !== 6 || address.includes('%')) return false;
  return globalV6.check(address, 'ipv6') && !closedV6.check(address, 'ipv6');
}

/** As the system does, by its hosts file too, on one of the few threads that signing also needs. */
const resolveBySystem: Resolve = (hostname, done) => systemLookup(hostname, { all: true }, done);

/** By DNS alone, on no thread: name servers that customers chose may take their time. */
export function createResolve(servers?: readonly string[]): Resolve {
  const resolver = new Resolver({ timeout: DNS_TIMEOUT_MS, tries: DNS_TRIES });
  if (servers) resolver.setServers(servers);
  return (hostname, done) => {
    const asked = [resolver.resolve4(hostname), resolver.resolve6(hostname)];
    void Promise.allSettled(asked).then(([v4, v6]) => {
      const found = [
        ...(v4?.status === 'fulfilled' ? v4.value.map((address) => ({ address, family: 4 })) : []),
        ...(v6?.status === 'fulfilled' ? v6.value.map((address) => ({ address, family: 6 })) : []),
      ];
      if (found.length === 0 && v4?.status === 'rejected') done(v4.reason as Error, []);
      else done(null, found);
    });
  };
}

export function createOutbound({
  allowPrivate,
  resolve = allowPrivate ? resolveBySystem : createResolve(),
  keepAliveMs,
}: OutboundOptions): Outbound {
  // Of our own: a connection that was made without the look-up below is never used.
  const keeping = { keepAlive: keepAliveMs !== undefined, timeout: keepAliveMs };
  const agents = { 'http:': new HttpAgent(keeping), 'https:': new HttpsAgent(keeping) };

  function faultOf(text: string): string | undefined {
    const url = text.length <= URL_MAX_LENGTH ? URL.parse(text) : null;
    if (!url) return 'must be an absolute URL';
    if (url.protocol !== 'https:' && !(allowPrivate && url.protocol === 'http:'))
      return 'must begin with https://';
    if (url.username || url.password) return 'must not hold a user name or a password';
    if (text.includes('#')) return 'must not hold a fragment';
    if (allowPrivate) return undefined;
    const port = Number(url.port || HTTPS_PORT);
    if (port !== HTTPS_PORT && port < FIRST_FREE_PORT)
      return `must have the port ${HTTPS_PORT} or one from ${FIRST_FREE_PORT} on`;
    const host = hostOf(url);
    if (isIP(host) ? !isPublicAddress(host) : /(^|\.)localhost\.?$/.test(host)) return PRIVATE;
    return undefined;
  }

  /** Every address must be public, since any of them may be the one that is connected to: exactly those are handed on. */
  const lookup: LookupFunction = (hostname, { all, family }, done) => {
    resolve(hostname, (error, found) => {
      if (error) return done(error, '');
      if (!allowPrivate && !found.every(({ address }) => isPublicAddress(address)))
        return done(new OutboundError(PRIVATE), '');
      const fit = found.filter(
        (each) => !family || each.family === Number(String(family).replace('IPv', '')),
      );
      const [first] = fit;
      if (!first) return done(new OutboundError('has no address'), '');
      if (all) done(null, fit);
      else done(null, first.address, first.family);
    });
  };

  return {
    faultOf,

    async fetch(text, { method = 'GET', headers = {}, body, timeoutMs, maxBytes, cutsBody, signal: given }) {
      // A socket takes an address that is written as one as it is, and looks nothing up.
      const fault = faultOf(text);
      if (fault) throw new OutboundError(fault);
      const url = new URL(text);
      const timeout = AbortSignal.timeout(timeoutMs);
      const signal = given ? AbortSignal.any([given, timeout]) : timeout;
      try {
        return await new Promise<OutboundAnswer>((settle, fail) => {
          const ask = url.protocol === 'https:' ? requestHttps : requestHttp;
          const agent = agents[url.protocol as keyof typeof agents];
          const request = ask(url, { method, headers, lookup, signal, agent }, (answer) => {
            const chunks: Buffer[] = [];
            let size = 0;
            const end = (): void =>
              settle({ status: answer.statusCode!, headers: answer.headers, body: Buffer.concat(chunks) });
            answer.on('data', (chunk: Buffer) => {
              size += chunk.length;
              chunks.push(chunk);
              if (size <= maxBytes) return;
              if (cutsBody) end();
              else fail(new OutboundError(`answers more than ${maxBytes} bytes`));
              request.destroy();
            });
            answer.on('error', fail);
            answer.on('end', end);
          });
          request.on('error', fail);
          // Also where it switches to another protocol, which nobody asked for.
          request.on('close', () => fail(new OutboundError('ends without an answer')));
          request.end(body);
        });
      } catch (cause) {
        if (cause instanceof OutboundError) throw cause;
        if (given?.aborted) throw new OutboundError('is not waited for any longer', { cause });
        if (timeout.aborted) throw new OutboundError(`has not answered within ${timeoutMs} ms`, { cause });
        throw new OutboundError('is out of reach', { cause });
      }
    },

    close() {
      for (const agent of Object.values(agents)) agent.destroy();
    },
  };
}

/** Without the brackets that an IPv6 address has in a URL. */
function hostOf(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, '$1');
}
