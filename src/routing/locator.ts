// From whom a client or backend means to the rows of users, for storing a message: from memory where it can be, since the
// statement that stores checks it under the inbox's lock.

import { asImidError, ImidError } from '../errors.ts';
import type { Name } from '../ids.ts';
import type { App } from '../identity/apps.ts';
import type { Directory } from '../identity/directory.ts';
import { readAddress, type Address } from '../identity/schemes.ts';
import type { Database } from '../store/database.ts';
import type { Uses } from '../store/fresh.ts';
import { findSentMessages } from '../store/messages.ts';
import type { Located, Unit } from './batch.ts';
import type { PushText } from './frames.ts';
import { Recent } from './recent.ts';
import type { Trail } from './tracing.ts';

/** What is to be sent, by whomever. */
export interface Letter {
  /** The sender's own id of it. */
  id: string;
  /** A list gets an outcome each, also if it is a list of one. */
  to: Address | readonly Address[];
  /** JSON text. */
  content: string;
  push?: PushText | undefined;
}

export interface LocatorOptions {
  directory: Directory;
  database: Database;
}

type Soon<T> = T | Promise<T>;

const MAX_HINTS = 100_000;

export type Locator = ReturnType<typeof createLocator>;

export function createLocator({ directory, database: { pool } }: LocatorOptions) {
  /** Where a name or an imId led to last time. */
  const hints = new Recent<string, Located>(MAX_HINTS);
  const uses: Uses = { hits: 0, misses: 0 };

  /** Finds whom addresses mean; `anew` looks past the hints. */
  function locate(app: App, addresses: readonly Address[], anew: boolean): Soon<(Located | ImidError)[]> {
    const found = addresses.map((address) => (anew ? undefined : readHint(app, address)));
    const open = addresses.filter((_, i) => found[i] === undefined);
    return open.length === 0 ? (found as (Located | ImidError)[]) : lookUp(app, addresses, found, open);
  }

  async function lookUp(
    app: App,
    addresses: readonly Address[],
    found: readonly (Located | ImidError | undefined)[],
    open: readonly Address[],
  ): Promise<(Located | ImidError)[]> {
    const users = await directory.claim(app, open);
    let next = 0;
    return found.map((hint, i) => {
      if (hint) return hint;
      const user = users[next++]!;
      if (user instanceof ImidError) return user;
      const name = nameIn(app, addresses[i]!);
      const located = { id: user.id, expectedName: name === undefined ? undefined : user.name };
      // A name lent by a user that was merged can't be checked when storing, and is looked up each time.
      if (name === undefined || name === user.name) hints.set(hintKey(app, addresses[i]!), located);
      else hints.delete(hintKey(app, addresses[i]!));
      return located;
    });
  }

  function readHint(app: App, address: Address): Located | ImidError | undefined {
    try {
      readAddress(app, address); // the schemes may have changed since
    } catch (error) {
      return asImidError(error);
    }
    const hint = hints.get(hintKey(app, address));
    uses[hint ? 'hits' : 'misses'] += 1;
    return hint;
  }

  return {
    uses: uses as Readonly<Uses>,

    /** Finds who an address means. Throws what the caller is to be told. */
    async locateOne(app: App, address: Address, anew: boolean): Promise<Located> {
      const [located] = await locate(app, [address], anew);
      if (located instanceof ImidError) throw located;
      return located!;
    },

    /** In whose name the app itself sends. */
    locateSystem: async (app: App): Promise<Located> => ({
      id: (await directory.resolveSystem(app.id)).id,
      expectedName: undefined,
    }),

    /** Finds whom a letter goes to, at once where that is known. `findSender` may be asked again, anew. */
    prepare(
      app: App,
      findSender: (anew: boolean) => Soon<Located>,
      letter: Letter,
      origin: string,
      trail: Trail | undefined,
    ): Soon<Unit> {
      const { to } = letter;
      const isList = Array.isArray(to);
      const addresses = isList ? (to as Address[]) : [to as Address];

      const toUnit = (sender: Located, located: (Located | ImidError)[]): Soon<Unit> => {
        const recipients = located.map(asRecipientError);
        const unit: Unit = {
          appId: app.id,
          sender,
          clientId: letter.id,
          recipients,
          isList,
          known: [],
          content: letter.content,
          push: letter.push === undefined ? undefined : JSON.stringify(letter.push),
          origin,
          trail,
          async relocate() {
            const again = await findSender(true);
            return { sender: again, recipients: (await locate(app, addresses, true)).map(asRecipientError) };
          },
        };
        if (!recipients.some((recipient) => recipient instanceof ImidError)) return unit;
        // Whoever got it may be gone since, and the same id is still answered the same.
        return findSentMessages(pool, app.id, sender.id, letter.id).then((known) => ({ ...unit, known }));
      };

      // The sender first: where it is nobody, nobody gets a row for being sent to.
      const addressed = (sender: Located): Soon<Unit> => {
        const recipients = locate(app, addresses, false);
        return recipients instanceof Promise
          ? recipients.then((found) => toUnit(sender, found))
          : toUnit(sender, recipients);
      };
      const sender = findSender(false);
      return sender instanceof Promise ? sender.then(addressed) : addressed(sender);
    },

    /** To be called when what rows mean has changed altogether. */
    forget: (): void => hints.clear(),
  };
}

function nameIn(app: App, address: Address): Name | undefined {
  const target = readAddress(app, address);
  return target.by === 'name' ? target.name : undefined;
}

function hintKey(app: App, address: Address): string {
  // A userId must not lead to a user that is a uid only, so the two have hints of their own.
  if (address.uid !== undefined) return `${app.id}:u:${address.uid}`;
  if (address.userId !== undefined) return `${app.id}:r:${address.userId}`;
  return `${app.id}:i:${address.imId}`;
}

/** What is not found when it is looked up is an unknown recipient when it is sent to. */
function asRecipientError(located: Located | ImidError): Located | ImidError {
  if (!(located instanceof ImidError) || located.code !== 'not_found') return located;
  return new ImidError('unknown_recipient', located.message);
}
