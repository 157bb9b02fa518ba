// Writes down what is done over HTTP. A route whose use is an act says so (`config.audit`), and is answered once that is in
// the trail; other writes of backends are counted, and so are those that a key was refused.

import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify';
import { ImidError } from '../errors.ts';
import type { Audit } from '../identity/audit.ts';
import type { AppId, Name } from '../ids.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** What the act was about, where the path doesn't say it. */
    audited: { appId?: AppId; name?: Name; target?: string } | undefined;
  }
}

const READS = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Has what is registered from here on written down. */
export function auditRoutes(app: FastifyInstance, audit: Audit): void {
  app.decorateRequest('audited');
  app.addHook('onRoute', (route) => {
    const methods = [route.method].flat();
    const { audit: action, scope } = route.config ?? {};
    const isRead = scope === 'read' && action === undefined;
    if (isRead || methods.every((method) => READS.has(method))) return;
    const operation = operationOf(route);
    if (action !== undefined)
      route.onSend = [
        ...[route.onSend ?? []].flat(),
        async (request: FastifyRequest, reply: FastifyReply) => {
          // An answer that is given again is no act.
          if (reply.hasHeader('idempotency-replayed')) return;
          if (reply.statusCode >= 200 && reply.statusCode < 300) await note(request, action);
        },
      ];
    route.onResponse = [
      ...[route.onResponse ?? []].flat(),
      async ({ actor, tenant }: FastifyRequest, { statusCode }: FastifyReply) => {
        if (actor === undefined) return;
        const use = { appId: tenant?.id, actor, target: operation };
        if (statusCode === 403) audit.count({ ...use, action: 'key.refuse' });
        else if (action === undefined && statusCode < 300) audit.count({ ...use, action: 'key.use' });
      },
    ];
  });

  async function note(request: FastifyRequest, action: string): Promise<void> {
    const { actor, tenant, admitted, audited } = request;
    try {
      await audit.note({
        appId: audited?.appId ?? tenant?.id ?? admitted?.app.id,
        actor: actor ?? 'client',
        action,
        name: audited?.name ?? admitted?.user.name,
        target: audited?.target,
      });
    } catch (cause) {
      throw new ImidError(
        'unavailable',
        'It was done, but could not be written to the audit trail. Look before you do it again.',
        { cause },
      );
    }
  }
}

function operationOf({ schema, url }: RouteOptions): string {
  return schema?.operationId ?? url;
}
