// The only reader of process.env: every setting of the process, checked before anything starts.

import { isIP } from 'node:net';

export interface Config {
  readonly port: number;
  readonly host: string;
  /** Undefined: the embedded Postgres in `directory`. */
  readonly databaseUrl: string | undefined;
  /** A Postgres that may lose what it has committed is warned of, instead of refused. */
  readonly allowUnsafePostgres: boolean;
  /** Where the embedded Postgres and the service's own keys live. */
  readonly directory: string;
  /** Undefined: made at first start and kept in `directory`. */
  readonly adminKey: string | undefined;
  /** The issuer of tokens, without a slash at its end. */
  readonly publicUrl: string;
  /** Encrypts secrets at rest. Undefined: made at first start and kept in `directory`. */
  readonly secret: string | undefined;
  /** What some secrets may still be encrypted with. */
  readonly otherSecret: string | undefined;
  /** Undefined, also for those that follow: as the service has it. */
  readonly signingAlg: (typeof SIGNING_ALGS)[number] | undefined;
  readonly signingKeyMaxAgeMs: number | undefined;
  readonly maxBlindMs: number | undefined;
  /** Through which processes ring each other; several separated by commas. Undefined: through Postgres. */
  readonly natsUrl: string | undefined;
  readonly logLevel: string;
  /** Undefined, also for those that follow: as the service has it. */
  readonly limits: Readonly<
    Record<
      | 'framesPerSecond'
      | 'frameBurst'
      | 'connectionsPerUser'
      | 'connectionsPerApp'
      | 'apiKeysPerApp'
      | 'issuersPerApp'
      | 'webhookEventsPerApp',
      number | undefined
    >
  >;
  readonly quotas: Readonly<
    Record<'key' | 'app' | 'user' | 'address', { uses: number; windowSeconds: number } | 'off' | undefined>
  >;
  /** Whose X-Forwarded-For is believed. Undefined: nobody's. */
  readonly trustedProxies: readonly string[] | undefined;
  readonly maxQueuedMessages: number | undefined;
  /** URLs of customers may be http, and at private addresses. */
  readonly allowPrivateUrls: boolean;
  /** Serves a page that shows both schemes. */
  readonly playground: boolean;
  readonly pingMs: number | undefined;
  readonly drainTimeoutMs: number | undefined;
  readonly idempotencyMs: number | undefined;
  readonly pushTiming: { readonly graceMs?: number; readonly windowMs?: number };
  /** Undefined: no traces are made. Where they go is read by the exporter. */
  readonly traces: TracesConfig | undefined;
}

export interface TracesConfig {
  readonly sampler: (typeof SAMPLERS)[number];
  /** Of the traces that begin here, for the samplers that go by it. */
  readonly ratio: number;
}

const SAMPLERS = [
  'always_on',
  'always_off',
  'traceidratio',
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
] as const;
const SIGNING_ALGS = ['ES256', 'EdDSA'] as const;
const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'];
const QUOTA_MAX_SECONDS = 3_600;
const SECRET_MIN_LENGTH = 16;
const NATS_URL_RULE =
  'NATS_URL must be nats://user:password@host:port (or nats://token@host:port, or tls: instead of nats:; several ' +
  'separated by commas), with whatever is special in the password percent-encoded';

/** Throws an Error that names the variable. */
export function readConfig(env: NodeJS.ProcessEnv = process.env): Config {
  const port = parsePort(env.PORT ?? '8080');
  const host = env.HOST || '127.0.0.1';
  const logLevel = env.LOG_LEVEL ?? 'info';
  const pingSeconds = parseInteger('IMID_PING_SECONDS', env.IMID_PING_SECONDS, 1, 3_600);
  const readTimeoutSeconds = parseInteger(
    'IMID_READ_TIMEOUT_SECONDS',
    env.IMID_READ_TIMEOUT_SECONDS,
    1,
    3_600,
  );
  const signingKeyDays = parseInteger('IMID_SIGNING_KEY_DAYS', env.IMID_SIGNING_KEY_DAYS, 1, 3_650);
  const graceSeconds = parseInteger('IMID_PUSH_GRACE_SECONDS', env.IMID_PUSH_GRACE_SECONDS, 1, 300);
  const windowSeconds = parseInteger('IMID_PUSH_WINDOW_SECONDS', env.IMID_PUSH_WINDOW_SECONDS, 1, 300);
  const maxBlindSeconds = parseInteger('IMID_MAX_BLIND_SECONDS', env.IMID_MAX_BLIND_SECONDS, 5, 300);
  const idempotencyHours = parseInteger('IMID_IDEMPOTENCY_HOURS', env.IMID_IDEMPOTENCY_HOURS, 1, 720);
  if (!LOG_LEVELS.includes(logLevel)) throw new Error(`LOG_LEVEL must be one of ${LOG_LEVELS.join(', ')}`);
  return {
    port,
    host,
    ...readDatabaseConfig(env),
    adminKey: parseSecret('IMID_ADMIN_KEY', env.IMID_ADMIN_KEY),
    publicUrl: parseUrl(env.IMID_PUBLIC_URL || `http://localhost:${port}`),
    ...readSecretConfig(env),
    signingAlg: parseChoice('IMID_SIGNING_ALG', env.IMID_SIGNING_ALG, SIGNING_ALGS),
    signingKeyMaxAgeMs: signingKeyDays && signingKeyDays * 24 * 3_600_000,
    maxBlindMs: maxBlindSeconds && maxBlindSeconds * 1_000,
    natsUrl: parseNatsUrl(env.NATS_URL),
    logLevel,
    traces: parseTraces(env),
    limits: readLimits(env),
    quotas: {
      key: parseQuota('IMID_QUOTA_KEY', env.IMID_QUOTA_KEY),
      app: parseQuota('IMID_QUOTA_APP', env.IMID_QUOTA_APP),
      user: parseQuota('IMID_QUOTA_USER', env.IMID_QUOTA_USER),
      address: parseQuota('IMID_QUOTA_ADDRESS', env.IMID_QUOTA_ADDRESS),
    },
    trustedProxies: parseProxies(env.IMID_TRUSTED_PROXIES),
    allowPrivateUrls: parseSwitch('IMID_ALLOW_PRIVATE_URLS', env.IMID_ALLOW_PRIVATE_URLS),
    playground: parseSwitch('IMID_PLAYGROUND', env.IMID_PLAYGROUND),
    maxQueuedMessages: parseInteger(
      'IMID_MAX_QUEUED_MESSAGES',
      env.IMID_MAX_QUEUED_MESSAGES,
      1_000,
      1_000_000,
    ),
    pingMs: pingSeconds && pingSeconds * 1_000,
    drainTimeoutMs: readTimeoutSeconds && readTimeoutSeconds * 1_000,
    idempotencyMs: idempotencyHours && idempotencyHours * 3_600_000,
    pushTiming: {
      ...(graceSeconds && { graceMs: graceSeconds * 1_000 }),
      ...(windowSeconds && { windowMs: windowSeconds * 1_000 }),
    },
  };
}

function readLimits(env: NodeJS.ProcessEnv): Config['limits'] {
  const read = (variable: string, text: string | undefined) => parseInteger(variable, text, 1, 1_000_000);
  return {
    framesPerSecond: read('IMID_MAX_FRAMES_PER_SECOND', env.IMID_MAX_FRAMES_PER_SECOND),
    frameBurst: read('IMID_MAX_FRAME_BURST', env.IMID_MAX_FRAME_BURST),
    connectionsPerUser: read('IMID_MAX_CONNECTIONS_PER_USER', env.IMID_MAX_CONNECTIONS_PER_USER),
    connectionsPerApp: read('IMID_MAX_CONNECTIONS_PER_APP', env.IMID_MAX_CONNECTIONS_PER_APP),
    apiKeysPerApp: read('IMID_MAX_API_KEYS_PER_APP', env.IMID_MAX_API_KEYS_PER_APP),
    issuersPerApp: read('IMID_MAX_ISSUERS_PER_APP', env.IMID_MAX_ISSUERS_PER_APP),
    webhookEventsPerApp: read('IMID_MAX_WEBHOOK_EVENTS', env.IMID_MAX_WEBHOOK_EVENTS),
  };
}

/** So many requests in so many seconds: `600/10`. */
function parseQuota(
  variable: string,
  text: string | undefined,
): { uses: number; windowSeconds: number } | 'off' | undefined {
  if (!text) return undefined;
  if (text === 'off') return text;
  const [, uses, windowSeconds] = (/^(\d{1,9})\/(\d{1,4})$/.exec(text) ?? []).map(Number);
  if (!uses || !windowSeconds || windowSeconds > QUOTA_MAX_SECONDS)
    throw new Error(
      `${variable} must be off, or requests per seconds, such as 600/10, of up to ${QUOTA_MAX_SECONDS} seconds`,
    );
  return { uses, windowSeconds };
}

function parseProxies(text: string | undefined): readonly string[] | undefined {
  if (!text) return undefined;
  const proxies = text.split(',').map((each) => each.trim());
  for (const each of proxies) {
    const [address = '', bits, ...more] = each.split('/');
    const family = isIP(address);
    const isNetwork = bits === undefined || (/^\d+$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128));
    if (family === 0 || !isNetwork || more.length > 0)
      throw new Error(
        'IMID_TRUSTED_PROXIES must be addresses and networks, such as 10.0.0.7 or 10.0.0.0/8, separated by commas',
      );
  }
  return proxies;
}

function parseInteger(
  variable: string,
  text: string | undefined,
  min: number,
  max: number,
): number | undefined {
  if (!text) return undefined;
  const number = Number(text);
  if (!/^\d+$/.test(text) || number < min || number > max)
    throw new Error(`${variable} must be a whole number from ${min} to ${max}`);
  return number;
}

function parseChoice<T extends string>(
  variable: string,
  text: string | undefined,
  choices: readonly T[],
): T | undefined {
  if (!text) return undefined;
  const chosen = choices.find((each) => each === text);
  if (!chosen) throw new Error(`${variable} must be one of ${choices.join(', ')}`);
  return chosen;
}

/** Where the database is. Throws an Error that names the variable. */
export function readDatabaseConfig(
  env: NodeJS.ProcessEnv = process.env,
): Pick<Config, 'databaseUrl' | 'allowUnsafePostgres' | 'directory'> {
  return {
    databaseUrl: parseDatabaseUrl(env.DATABASE_URL),
    allowUnsafePostgres: parseSwitch('IMID_ALLOW_UNSAFE_POSTGRES', env.IMID_ALLOW_UNSAFE_POSTGRES),
    directory: env.IMID_DATA_DIR || '.data',
  };
}

/** What secrets are encrypted with. Throws an Error that names the variable. */
export function readSecretConfig(
  env: NodeJS.ProcessEnv = process.env,
): Pick<Config, 'secret' | 'otherSecret'> {
  return {
    secret: parseSecret('IMID_SECRET', env.IMID_SECRET),
    otherSecret: parseSecret('IMID_OTHER_SECRET', env.IMID_OTHER_SECRET),
  };
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65535) throw new Error('PORT must be a number from 0 to 65535');
  return port;
}

function parseSwitch(variable: string, text: string | undefined): boolean {
  if (text && text !== 'true' && text !== 'false') throw new Error(`${variable} must be true or false`);
  return text === 'true';
}

function parseTraces(env: NodeJS.ProcessEnv): TracesConfig | undefined {
  if (!env.OTEL_EXPORTER_OTLP_ENDPOINT && !env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) return undefined;
  const sampler =
    parseChoice('OTEL_TRACES_SAMPLER', env.OTEL_TRACES_SAMPLER, SAMPLERS) ?? 'parentbased_traceidratio';
  const ratio = Number(env.OTEL_TRACES_SAMPLER_ARG || 1);
  if (!(ratio >= 0 && ratio <= 1)) throw new Error('OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1');
  return { sampler, ratio };
}

/** Never quotes the text, since there is a password in it. */
function parseDatabaseUrl(text: string | undefined): string | undefined {
  if (!text) return undefined;
  const url = URL.parse(text);
  const isPostgres = url !== null && /^postgres(ql)?:$/.test(url.protocol);
  // What a password holds unencoded ends up in the wrong part of the URL.
  if (!isPostgres || url.hash || url.pathname.includes('@') || /%(?![\da-f]{2})/i.test(text))
    throw new Error(
      'DATABASE_URL must be postgres://user:password@host:port/database, with whatever is special in the password ' +
        'percent-encoded',
    );
  return text;
}

/** Never quotes the text, since there may be a password in it. */
function parseNatsUrl(text: string | undefined): string | undefined {
  if (!text) return undefined;
  const urls = text.split(',').map((each) => URL.parse(each.trim()));
  const credentials = new Set<string>();
  for (const url of urls) {
    const isNats = url !== null && /^(nats|tls):$/.test(url.protocol) && url.hostname !== '';
    const isBare = isNats && /^\/?$/.test(url.pathname) && !url.search && !url.hash;
    // A password alone, or a part of it, as where it holds a colon or a percent sign unencoded.
    if (!isBare || (url.password && !url.username) || /%(?![\da-f]{2})/i.test(url.username + url.password))
      throw new Error(NATS_URL_RULE);
    if (url.username) credentials.add(`${url.username}:${url.password}`);
  }
  if (credentials.size > 1) throw new Error('NATS_URL must have the same credentials in each of its URLs');
  return text;
}

function parseUrl(text: string): string {
  const url = URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol) || url.search || url.hash)
    throw new Error('IMID_PUBLIC_URL must be an http or https URL without query and fragment');
  return url.href.replace(/\/+$/, '');
}

function parseSecret(variable: string, text: string | undefined): string | undefined {
  if (!text) return undefined;
  if (text.length < SECRET_MIN_LENGTH || !/^[\x21-\x7e]+$/.test(text))
    throw new Error(`${variable} must be at least ${SECRET_MIN_LENGTH} visible ASCII characters`);
  return text;
}

/** What the environment tells the commands of cli. */
export interface CliConfig {
  /** Where the service is, without a slash at its end. */
  readonly url: string;
  /** Undefined: the admin key in `directory`. */
  readonly key: string | undefined;
  readonly directory: string;
  /** What paths on the command line are relative to; npm runs its scripts in the directory of the package. */
  readonly workingDirectory: string;
}

/** Throws an Error that names the variable. */
export function readCliConfig(env: NodeJS.ProcessEnv = process.env): CliConfig {
  return {
    url: parseUrl(env.IMID_PUBLIC_URL || `http://localhost:${parsePort(env.PORT ?? '8080')}`),
    key: env.IMID_API_KEY || env.IMID_ADMIN_KEY || undefined,
    directory: env.IMID_DATA_DIR || '.data',
    workingDirectory: (env.npm_lifecycle_event === 'imid' && env.INIT_CWD) || process.cwd(),
  };
}
