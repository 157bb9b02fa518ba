// Traces of a message, as a collector gets them by OTLP over HTTP: from frame or request to each delivery.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { readConfig } from '../src/config.ts';
import { startTracing, type TracesOptions } from '../src/routing/tracing_opentelemetry.ts';
import { startService, type Json, type Service, type Tenant } from './harness.ts';

interface Span {
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId: string;
  attributes: Record<string, unknown>;
  links: { traceId: string; spanId: string }[];
  status: { code?: number; message?: string };
  start: bigint;
  end: bigint;
}

let collector: Server;
let bodies: Json[] = [];
let log = '';
before(async () => {
  collector = createServer((request, response) => {
    void request.toArray().then((chunks) => {
      assert.equal(request.url, '/v1/traces');
      bodies.push(JSON.parse(Buffer.concat(chunks).toString()));
      response.setHeader('content-type', 'application/json').end('{}');
    });
  });
  collector.listen(0, '127.0.0.1');
  await once(collector, 'listening');
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] =
    `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
});
after(() => collector.close());

/** What a collector has got when a service that does something has stopped. */
async function collect(
  act: (service: Service, app: Tenant) => Promise<void>,
  options: TracesOptions = { sampler: 'parentbased_traceidratio', ratio: 1 },
  logLevel = 'silent',
): Promise<Span[]> {
  bodies = [];
  const traces = startTracing(options);
  const service = await startService({
    app: { traces, logLevel, logTo: { write: (line) => void (log += line) } },
  });
  await act(service, await service.createApp());
  await service.close();
  await traces.stop();
  return bodies
    .flatMap((body) => body.resourceSpans)
    .flatMap(({ resource, scopeSpans }) => {
      assert.equal(read(resource.attributes)['service.name'], 'imid');
      return scopeSpans.flatMap((scope: Json) => scope.spans.map(toSpan));
    });
}

function toSpan(span: Json): Span {
  return {
    ...span,
    attributes: read(span.attributes),
    links: span.links ?? [],
    parentSpanId: span.parentSpanId ?? '',
    start: BigInt(span.startTimeUnixNano),
    end: BigInt(span.endTimeUnixNano),
  };
}

const read = (attributes: Json[]): Record<string, unknown> =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));

/** The spans below one, by name. */
function below(spans: Span[], parent: Span): string[] {
  return spans
    .filter((span) => span.parentSpanId === parent.spanId && span.traceId === parent.traceId)
    .map((span) => span.name)
    .toSorted();
}

const sendOf = (spans: Span[], origin: string): Span =>
  spans.find((span) => span.name === 'send' && span.attributes['imid.origin'] === origin)!;

test('a send on the socket is one tree: finding, waiting, a flush, and a delivery to each connection', async () => {
  let connections: string[] = [];
  let origin = '';
  const spans = await collect(async (_service, app) => {
    const alice = await app.connect({ uid: 'alice' });
    const bobs = [await app.connect({ uid: 'bob' }), await app.connect({ uid: 'bob' })];
    await alice.say({ uid: 'bob' }, 'secret', 'one');
    for (const bob of bobs) await bob.messages(1);
    connections = bobs.map((bob) => bob.welcome.connectionId);
    origin = `${alice.welcome.connectionId}/one`;
  });
  const send = sendOf(spans, origin);
  assert.equal(send.parentSpanId, '');
  assert.equal(send.attributes['imid.way'], 'socket');
  assert.deepEqual(below(spans, send), ['deliver', 'deliver', 'find users', 'flush', 'wait']);
  assert.equal(spans.length, 6);
  const flush = spans.find((span) => span.name === 'flush')!;
  assert.deepEqual(
    [flush.attributes['imid.units'], flush.links.map((link) => link.spanId)],
    [1, [send.spanId]],
  );
  const delivered = spans
    .filter((span) => span.name === 'deliver')
    .map((span) => span.attributes['imid.connection']);
  assert.deepEqual(new Set(delivered), new Set(connections));
  for (const span of spans) assert.ok(span.start >= send.start && span.end >= span.start, span.name);
  assert.doesNotMatch(JSON.stringify(bodies), /secret|alice|bob/);
});

test('a request that sends goes on with the trace of its caller', async () => {
  const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
  const spans = await collect(
    async (service, app) => {
      const bob = await app.connect({ uid: 'bob' });
      const post = (id: string, flags: string) =>
        service.call('POST', `${app.path}/messages`, {
          body: { from: { uid: 'alice' }, to: { uid: 'bob' }, content: 1 },
          headers: { 'x-request-id': id, traceparent: `00-${traceId}-00f067aa0ba902b7-${flags}` },
        });
      await post('sampled', '01');
      await post('unsampled', '00');
      await post('malformed', 'zz');
      await bob.messages(3);
    },
    undefined,
    'debug',
  );
  const send = sendOf(spans, 'sampled');
  assert.deepEqual([send.traceId, send.parentSpanId], [traceId, '00f067aa0ba902b7']);
  assert.deepEqual(below(spans, send), ['deliver', 'find users', 'flush', 'wait']);
  assert.equal(sendOf(spans, 'unsampled'), undefined);
  assert.equal(sendOf(spans, 'malformed').parentSpanId, '');
  // Beside the traces, not instead of them.
  assert.equal(log.match(/a message was delivered/g)?.length, 3);
});

test('sends that are stored together share a flush that links to each', async () => {
  const spans = await collect(async (_service, app) => {
    const clients = await Promise.all(['a', 'b', 'c'].map((uid) => app.connect({ uid })));
    await Promise.all(Array.from({ length: 30 }, (_, n) => clients[n % 3]!.say({ uid: `to-${n}` }, n)));
  });
  const sends = spans.filter((span) => span.name === 'send').map((span) => span.spanId);
  const flushes = spans.filter((span) => span.name === 'flush');
  assert.equal(sends.length, 30);
  assert.deepEqual(
    flushes.flatMap((span) => span.links.map((link) => link.spanId)).toSorted(),
    sends.toSorted(),
  );
  for (const flush of flushes) assert.equal(flush.attributes['imid.units'], flush.links.length);
  assert.ok(flushes.length < 30);
});

test('a send that is refused says with which code', async () => {
  const spans = await collect(async (service, app) => {
    const alice = await app.connect({ uid: 'alice' });
    await alice.say({ userId: 'nobody' }, 1);
    await service.call('POST', `${app.path}/messages`, {
      body: { from: { userId: 'nobody' }, to: { uid: 'alice' }, content: 1 },
    });
  });
  const refused = spans.filter((span) => span.name === 'send').map((span) => span.status);
  assert.deepEqual(refused, [
    { code: 2, message: 'unknown_recipient' },
    { code: 2, message: 'not_found' },
  ]);
});

test('what is not sampled is not exported', async () => {
  const act = async (_service: Service, app: Tenant) => {
    const alice = await app.connect({ uid: 'alice' });
    assert.equal((await alice.say({ uid: 'bob' }, 1)).type, 'sent');
  };
  assert.deepEqual(await collect(act, { sampler: 'parentbased_traceidratio', ratio: 0 }), []);
  assert.deepEqual(await collect(act, { sampler: 'always_off', ratio: 1 }), []);
});

test('a collector that is gone keeps nobody from sending, nor the service from stopping', async () => {
  const endpoint = process.env['OTEL_EXPORTER_OTLP_ENDPOINT'];
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = 'http://127.0.0.1:1';
  process.env['OTEL_EXPORTER_OTLP_TIMEOUT'] = '300';
  const startedAt = performance.now();
  await collect(async (_service, app) => {
    const alice = await app.connect({ uid: 'alice' });
    assert.equal((await alice.say({ uid: 'bob' }, 1)).type, 'sent');
  });
  assert.ok(performance.now() - startedAt < 4_000);
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = endpoint;
  delete process.env['OTEL_EXPORTER_OTLP_TIMEOUT'];
});

test('the standard variables say whether there are traces, and how many', () => {
  assert.equal(readConfig({ OTEL_TRACES_SAMPLER_ARG: 'x' }).traces, undefined);
  const OTEL_EXPORTER_OTLP_ENDPOINT = 'http://localhost:4318';
  assert.deepEqual(readConfig({ OTEL_EXPORTER_OTLP_ENDPOINT }).traces, {
    sampler: 'parentbased_traceidratio',
    ratio: 1,
  });
  assert.deepEqual(
    readConfig({
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://localhost:4318/v1/traces',
      OTEL_TRACES_SAMPLER: 'always_on',
      OTEL_TRACES_SAMPLER_ARG: '0.01',
    }).traces,
    { sampler: 'always_on', ratio: 0.01 },
  );
  for (const bad of [{ OTEL_TRACES_SAMPLER: 'some' }, { OTEL_TRACES_SAMPLER_ARG: '2' }])
    assert.throws(
      () => readConfig({ OTEL_EXPORTER_OTLP_ENDPOINT, ...bad }),
      new RegExp(Object.keys(bad)[0]!),
    );
});
