// What is read of the stages when Prometheus scrapes, and costs nothing in between.
// Invariant: a scrape neither fails nor hangs because Postgres does; what only Postgres knows is missing then.

import { Gauge, type Registry as Metrics } from 'prom-client';
import type { Apps } from './identity/apps.ts';
import type { Lookups } from './identity/lookups.ts';
import type { Registry } from './identity/registry.ts';
import { countAtScrape, type Meters } from './routing/meters.ts';
import { pushProviderNames } from './routing/push_providers.ts';
import type { Pushing } from './routing/pushing.ts';
import type { Router } from './routing/router.ts';
import type { Database } from './store/database.ts';
import { findJobAges } from './store/jobs.ts';
import { createProbe } from './store/probe.ts';
import type { ApiKeys } from './tokens/api_keys.ts';

export interface GaugesOptions {
  database: Database;
  meters: Meters;
  router: Router;
  pushing: Pick<Pushing, 'countOpenCircuits'>;
  registry: Registry;
  apps: Apps;
  apiKeys: ApiKeys;
  lookups: Lookups;
}

const PATIENCE_MS = 500;

export function createGauges(metrics: Metrics, options: GaugesOptions): void {
  const { database, meters, router, pushing, registry, apps, apiKeys, lookups } = options;
  const { pool } = database;
  const probeJobs = createProbe(() => findJobAges(database.kysely), PATIENCE_MS);
  const caches = {
    app: apps.uses,
    key: apiKeys.uses,
    lookup: lookups.uses,
    hint: router.hintUses,
    answer: meters.remembered,
  };

  gauge(metrics, 'imid_connections', 'Open connections of this process.', ['scheme', 'state'], () => {
    const counts = {
      composed: { foreground: 0, background: 0 },
      registered: { foreground: 0, background: 0 },
    };
    for (const { scheme, state } of router.state.sessions) counts[scheme][state] += 1;
    return Object.entries(counts).flatMap(([scheme, byState]) =>
      Object.entries(byState).map(([state, count]): Sample => [{ scheme, state }, count]),
    );
  });
  gauge(metrics, 'imid_queue_messages', 'Messages that wait to be stored.', [], () => [
    [{}, router.state.queue.messages],
  ]);
  gauge(
    metrics,
    'imid_queue_bytes',
    'Characters of the content that waits to be stored or is being stored.',
    [],
    () => [[{}, router.state.queue.bytes]],
  );
  gauge(
    metrics,
    'imid_heartbeat_age_seconds',
    'Since Postgres last heard of this process; other processes count it as gone after 10.',
    [],
    () => [[{}, router.state.heartbeatAgeSeconds]],
  );
  gauge(metrics, 'imid_database_connections', 'Connections of the pool.', ['state'], () => [
    [{ state: 'used' }, pool.totalCount - pool.idleCount],
    [{ state: 'idle' }, pool.idleCount],
  ]);
  gauge(metrics, 'imid_database_waiting', 'Statements that wait for a connection of the pool.', [], () => [
    [{}, pool.waitingCount],
  ]);
  gauge(
    metrics,
    'imid_job_age_seconds',
    'How long the oldest job that is not done yet has been waiting, of all processes; missing while Postgres is away.',
    ['queue'],
    async () => (await probeJobs())?.map(({ queue, ageSeconds }): Sample => [{ queue }, ageSeconds]) ?? [],
  );
  gauge(
    metrics,
    'imid_push_circuits_open',
    'Accounts of apps that nothing is sent by for now, as pushes by them fail; of browsers, makers count by themselves.',
    ['provider'],
    () => {
      const counts = pushing.countOpenCircuits();
      return pushProviderNames.map((provider): Sample => [{ provider }, counts.get(provider) ?? 0]);
    },
  );

  countAtScrape(
    metrics,
    'imid_cache_uses_total',
    'How often a cache was asked, and whether it knew.',
    ['cache', 'outcome'],
    function* () {
      for (const [cache, { hits, misses }] of Object.entries(caches)) {
        yield [{ cache, outcome: 'hit' }, hits];
        yield [{ cache, outcome: 'miss' }, misses];
      }
    },
  );
  countAtScrape(
    metrics,
    'imid_registrations_total',
    'Registrations by what they came to; adopted took over a user that was known by a uid.',
    ['outcome'],
    function* () {
      for (const [outcome, count] of Object.entries(registry.outcomes)) yield [{ outcome }, count];
    },
  );
}

type Sample = [labels: Record<string, string>, value: number];

function gauge(
  metrics: Metrics,
  name: string,
  help: string,
  labelNames: readonly string[],
  read: () => Sample[] | Promise<Sample[]>,
): void {
  const measured = new Gauge({
    name,
    help,
    labelNames,
    registers: [metrics],
    async collect() {
      const samples = await read();
      measured.reset();
      for (const [labels, value] of samples) measured.set(labels, value);
    },
  });
}
