// Traces of sends by OpenTelemetry, exported by OTLP over HTTP. Loaded only where an endpoint is configured; where to
// export to, and with which headers, the exporter reads from the standard variables itself.
// A trace is `send` with, below it, `find users`, `wait`, `flush` and a `deliver` for each connection. A flush stores many
// sends: it hangs below the first one that is followed, and links to all of them.

import { setTimeout as sleep } from 'node:timers/promises';
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, TraceFlags } from '@opentelemetry/api';
import type { Context, Span } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import {
  defaultResource,
  detectResources,
  resourceAttributesEnvDetector,
  resourceFromAttributes,
  serviceNameEnvDetector,
} from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
  type Sampler,
} from '@opentelemetry/sdk-trace';
import type { Origin, Tracing, Trail } from './tracing.ts';

export interface ExportedTracing extends Tracing {
  /** Exports what is left, as far as the collector takes it in time. */
  stop(): Promise<void>;
}

const STOP_TIMEOUT_MS = 2_000;
/** As many as a flush has sends. */
const MAX_LINKS = 1_000;

const samplers = {
  always_on: () => new AlwaysOnSampler(),
  always_off: () => new AlwaysOffSampler(),
  traceidratio: (ratio: number) => new TraceIdRatioBasedSampler(ratio),
  parentbased_always_on: () => new ParentBasedSampler({ root: new AlwaysOnSampler() }),
  parentbased_always_off: () => new ParentBasedSampler({ root: new AlwaysOffSampler() }),
  parentbased_traceidratio: (ratio: number) =>
    new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(ratio) }),
} satisfies Record<string, (ratio: number) => Sampler>;

export interface TracesOptions {
  sampler: keyof typeof samplers;
  /** Of the traces that begin here, for the samplers that go by it. */
  ratio: number;
}

export function startTracing({ sampler, ratio }: TracesOptions): ExportedTracing {
  const provider = new TracerProvider({
    resource: defaultResource()
      .merge(resourceFromAttributes({ 'service.name': 'imid' }))
      .merge(detectResources({ detectors: [resourceAttributesEnvDetector, serviceNameEnvDetector] })),
    sampler: samplers[sampler](ratio),
    spanLimits: { linkCountLimit: MAX_LINKS },
    spanProcessors: [new BatchSpanProcessor({ exporter: new OTLPTraceExporter() })],
  });
  const tracer = provider.getTracer('imid');
  const sends = new WeakMap<Trail, { span: Span; context: Context; taken: () => void }>();

  return {
    begin({ id, way, traceparent }: Origin) {
      const attributes = { 'imid.origin': id, 'imid.way': way };
      const span = tracer.startSpan('send', { kind: SpanKind.SERVER, attributes }, readParent(traceparent));
      if (!span.isRecording()) return undefined;
      const context = trace.setSpan(ROOT_CONTEXT, span);
      const finding = tracer.startSpan('find users', {}, context);
      let waiting: Span | undefined;
      let storedAt = 0;
      const trail: Trail = {
        located() {
          finding.end();
          waiting = tracer.startSpan('wait', {}, context);
        },
        stored(messageId, seq) {
          storedAt = Date.now();
          span.addEvent('stored', { 'messaging.message.id': messageId, 'imid.seq': seq });
        },
        delivered(messageId, seq, connectionId) {
          const told = {
            'messaging.message.id': messageId,
            'imid.seq': seq,
            'imid.connection': connectionId,
          };
          const kind = SpanKind.PRODUCER;
          tracer.startSpan('deliver', { kind, startTime: storedAt, attributes: told }, context).end();
        },
        ended(error) {
          if (error) span.setStatus({ code: SpanStatusCode.ERROR, message: error.code });
          for (const each of [finding, waiting, span]) if (each?.isRecording()) each.end();
        },
      };
      sends.set(trail, { span, context, taken: () => waiting?.isRecording() && waiting.end() });
      return trail;
    },

    flush(trails, inserting) {
      const stored = trails.flatMap((trail) => sends.get(trail) ?? []);
      if (stored.length === 0) return;
      for (const { taken } of stored) taken();
      const links = stored.map(({ span }) => ({ context: span.spanContext() }));
      const attributes = { 'imid.units': trails.length };
      const flushing = tracer.startSpan(
        'flush',
        { kind: SpanKind.CLIENT, links, attributes },
        stored[0]!.context,
      );
      inserting.then(
        () => flushing.end(),
        () => flushing.setStatus({ code: SpanStatusCode.ERROR }).end(),
      );
    },

    stop: () => Promise.race([provider.shutdown().catch(() => {}), sleep(STOP_TIMEOUT_MS)]),
  };
}

/** W3C Trace Context, section 3.2; one that is not well-formed counts as none. */
function readParent(traceparent = ''): Context {
  const [, traceId, spanId, flags] =
    /^(?!ff)[\da-f]{2}-(?!0{32})([\da-f]{32})-(?!0{16})([\da-f]{16})-([\da-f]{2})(?:-|$)/.exec(traceparent) ??
    [];
  if (traceId === undefined || spanId === undefined) return ROOT_CONTEXT;
  const traceFlags = Number.parseInt(flags!, 16) & TraceFlags.SAMPLED;
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true });
}
