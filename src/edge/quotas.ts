// Holds requests to the quotas of whom they come from, and says in headers what is left (the IETF's RateLimit fields,
// draft of September 2025). What is refused here costs neither a signature nor a query.

import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { asImidError, errorCodes, ImidError } from '../errors.ts';
import { quotaNames, Uses, type QuotaName, type Quotas } from '../routing/quotas.ts';

type Count = { current: number; ttl: number };

/** What the plugin asks how often something was used. */
class UsesStore {
  readonly #uses: Uses | undefined;

  constructor({ uses }: { uses?: Uses }) {
    this.#uses = uses;
  }

  incr(holder: string, callback: (error: null, count: Count) => void): void {
    const { uses, leftMs } = this.#uses!.add(holder);
    callback(null, { current: uses, ttl: leftMs });
  }

  read(holder: string, callback: (error: null, count: Count) => void): void {
    const { uses, leftMs } = this.#uses!.read(holder);
    callback(null, { current: uses, ttl: leftMs });
  }

  child(options: object): UsesStore {
    return new UsesStore(options);
  }
}

/** Who has a quota. Of addresses the plugin's own: an IPv6 network of 64 bits is one. */
const holderOf: Record<QuotaName, ((request: FastifyRequest) => string) | undefined> = {
  key: ({ actor }) => actor,
  app: ({ tenant }) => String(tenant.id),
  user: ({ admitted: { app, user } }) => `${app.id}/${user.id}`,
  address: undefined,
};

const WHOSE: Record<QuotaName, string> = {
  key: 'This API key has',
  app: 'All keys of this app together have',
  user: 'This user has',
  address: 'This address has, without a good credential,',
};

const SHARED = ['key', 'app'] as const;

/** The hooks for the scopes of routes, and the uses that they count. `now` as in `Uses`. */
export async function holdQuotas(app: FastifyInstance, quotas: Quotas, now: () => number) {
  await app.register(rateLimit, { global: false, store: UsesStore });
  const uses = new Map<QuotaName, Uses>();
  const limits = new Map<QuotaName, { policy: string; take: ReturnType<typeof app.createRateLimit> }>();
  for (const name of quotaNames) {
    const quota = quotas[name];
    if (quota === 'off') continue;
    const holder = holderOf[name];
    const options = {
      max: quota.uses,
      timeWindow: quota.windowSeconds * 1_000,
      uses: new Uses(quota, now),
      ...(holder && { keyGenerator: holder }),
    };
    uses.set(name, options.uses);
    limits.set(name, {
      policy: `"${name}";q=${quota.uses};w=${quota.windowSeconds}`,
      take: app.createRateLimit(options),
    });
  }

  /** Uses each of the quotas once, up to the first that is used up; throws `rate_limited` where there is one. */
  async function take(
    request: FastifyRequest,
    reply: FastifyReply,
    names: readonly QuotaName[],
  ): Promise<void> {
    const policies: string[] = [];
    const states: string[] = [];
    let refusal: ImidError | undefined;
    for (const name of names) {
      const limit = limits.get(name);
      const count = limit && (await limit.take(request, { increment: !refusal }));
      if (!count || count.isAllowed) continue;
      policies.push(limit.policy);
      states.push(`"${name}";r=${count.remaining};t=${count.ttlInSeconds}`);
      if (count.isExceeded) refusal ??= usedUp(name, count.max, count.timeWindow, count.ttlInSeconds);
    }
    if (states.length === 0) return;
    reply.header('ratelimit-policy', policies.join(', '));
    reply.header('ratelimit', states.join(', '));
    if (refusal) throw refusal;
  }

  const shared = new Map(SHARED.flatMap((name) => (uses.has(name) ? [[name, uses.get(name)!]] : [])));

  return {
    /** Of the quotas that are to hold over all processes; the others each process holds by itself. */
    shared,

    takeBackend: async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
      if (request.actor !== 'admin') await take(request, reply, ['key', 'app']);
    },

    takeUser: (request: FastifyRequest, reply: FastifyReply): Promise<void> => take(request, reply, ['user']),

    /** For routes that need no credential and cost something. */
    takeAddress: (request: FastifyRequest, reply: FastifyReply): Promise<void> =>
      take(request, reply, ['address']),

    /** Before the credential is looked at: whether the address has had too many refused. */
    async refuseAddress(request: FastifyRequest, reply: FastifyReply): Promise<void> {
      const limit = limits.get('address');
      if (!limit || uses.get('address')!.size === 0) return;
      const count = await limit.take(request, { increment: false });
      if (count.isAllowed || count.remaining > 0) return;
      reply.header('ratelimit-policy', limit.policy);
      reply.header('ratelimit', `"address";r=0;t=${count.ttlInSeconds}`);
      throw usedUp('address', count.max, count.timeWindow, count.ttlInSeconds);
    },

    /** What was refused before it came to a quota of who asks, held or off, counts to its address. */
    async countRefused(request: FastifyRequest, reply: FastifyReply, error: Error): Promise<void> {
      if (request.actor === 'admin' || request.granted || request.admitted || reply.hasHeader('ratelimit'))
        return;
      if (errorCodes[asImidError(error).code].status < 500)
        await take(request, reply, ['address']).catch(() => {});
    },
  };
}

function usedUp(name: QuotaName, uses: number, windowMs: number, retryAfterSeconds: number): ImidError {
  return new ImidError(
    'rate_limited',
    `${WHOSE[name]} ${uses} requests in ${windowMs / 1_000} seconds, and no more until that is over.`,
    { retryAfterSeconds },
  );
}
