// Sends, by clients and by backends: finds whom one means, and hands it to the writer.
// Invariant: a client sends as the user that its connection has now, whoever that was merged into.

import { asImidError, ImidError } from '../errors.ts';
import type { App, Apps } from '../identity/apps.ts';
import type { User } from '../identity/directory.ts';
import { requireScheme, type Address } from '../identity/schemes.ts';
import type { Located, Outcome, Unit } from './batch.ts';
import type { Letter, Locator } from './locator.ts';
import type { Meters } from './meters.ts';
import type { Session } from './session.ts';
import type { Trail, Tracing } from './tracing.ts';
import type { Writer } from './writer.ts';

export interface SendingOptions {
  apps: Apps;
  locator: Locator;
  writer: Writer;
  meters: Pick<Meters, 'sent'>;
  /** Undefined: nobody follows sends. */
  tracing: Tracing | undefined;
  /** Moves the session to the user that its own was merged into, if it was. */
  follow: (session: Session) => Promise<User | undefined>;
}

export interface SendRequest extends Letter {
  /** Undefined: the app itself. */
  from: Address | undefined;
  /** The id of the request. */
  origin: string;
  /** Of the trace that the request belongs to. */
  traceparent: string | undefined;
}

export type Sending = ReturnType<typeof createSending>;

export function createSending({ apps, locator, writer, meters, tracing, follow }: SendingOptions) {
  async function findAnew(session: Session): Promise<Located> {
    if (await follow(session)) return { id: session.identityId, expectedName: undefined };
    throw new ImidError('token_revoked', 'The user of this connection is gone.');
  }

  function write(unit: Unit): Promise<Outcome> {
    unit.trail?.located();
    return writer.write(unit);
  }

  return {
    write,

    /** Finds whom a client means, at once where that is known. Throws what it is to be told. */
    prepare(
      session: Session,
      letter: Letter,
      origin: string,
      trail: Trail | undefined,
    ): Unit | Promise<Unit> {
      const findSender = (anew: boolean): Located | Promise<Located> =>
        anew ? findAnew(session) : { id: session.identityId, expectedName: undefined };
      const prepare = (app: App) => {
        requireScheme(app, session.scheme);
        return locator.prepare(app, findSender, letter, origin, trail);
      };
      const app = apps.peek(session.appId);
      return app ? prepare(app) : apps.resolve(session.appId).then(prepare);
    },

    /** Sends for a backend. Throws where the sender can't be found; recipients have an outcome each. */
    async send(app: App, request: SendRequest): Promise<Outcome> {
      const { from } = request;
      const findSender = (anew: boolean): Promise<Located> =>
        (from ? locator.locateOne(app, from, anew) : locator.locateSystem(app)).catch((error: unknown) => {
          if (!(error instanceof ImidError)) throw error;
          const errors = [{ in: 'body' as const, pointer: '#/from', detail: error.message }];
          throw new ImidError(error.code, error.message, { errors });
        });
      const { origin, traceparent } = request;
      const trail = tracing?.begin({ id: origin, way: 'rest', traceparent });
      meters.sent('rest');
      try {
        const outcome = await write(await locator.prepare(app, findSender, request, origin, trail));
        trail?.ended(outcome.length === 1 && outcome[0] instanceof ImidError ? outcome[0] : undefined);
        return outcome;
      } catch (error) {
        trail?.ended(asImidError(error));
        throw error;
      }
    },
  };
}
