// History: messages of a former system that join inboxes, and messages that leave for another one. Joining is quiet:
// nobody is told, and each inbox goes on from where it stands.
// Invariants: what came first stands first in every inbox; what is there already is stored no second time, whoever repeats
// it; a batch is stored as a whole or not at all, also while its users are renamed, merged or erased.

import { setTimeout as sleep } from 'node:timers/promises';
import { ImidError } from '../errors.ts';
import type { App } from '../identity/apps.ts';
import type { Directory, Found } from '../identity/directory.ts';
import { isLockTimeout, violatedUnique } from '../store/constraints.ts';
import type { Database } from '../store/database.ts';
import { streamMessages, type ExportedMessage } from '../store/exported.ts';
import { findKnown, insertImported, lockInboxes, type ImportedMessage } from '../store/imported.ts';
import { transact } from '../store/transact.ts';
import {
  createNaming,
  isAddress,
  isSound,
  number,
  rowsOf,
  toRow,
  type NamedMessage,
  type PastMessage,
  type PastParty,
  type PlacedMessage,
  type SoundMessage,
} from './past_messages.ts';

export type { ExportedMessage } from '../store/exported.ts';

/** What came of a message. */
export interface Joined {
  messageId: string;
  /** In the recipient's inbox; undefined where the recipient was erased. */
  seq: number | undefined;
  status: 'created' | 'existing';
}

export type History = ReturnType<typeof createHistory>;

/** How long a batch waits for users who are being merged, renamed or written to. */
const PATIENCE_MS = 30_000;
const PAUSE_MS = 50;
/** Short, since what a batch has locked already keeps live messages waiting. */
const LOCK_PATIENCE_MS = 200;
/** Somebody has stored it meanwhile. */
const REPEATED = new Set(['message__client_id', 'message_pkey']);

export function createHistory({ database, directory }: { database: Database; directory: Directory }) {
  const { kysely, clock } = database;

  /** Finds whom messages are from and to; an error stands for one whose sender is nobody. */
  async function place(app: App, messages: readonly NamedMessage[]): Promise<(PlacedMessage | ImidError)[]> {
    for (;;) {
      const parties = messages.flatMap(({ from, to }) => [from, to]);
      const found = (await directory.lookUpRows(app, parties.filter(isAddress))).values();
      const isSystem = (party: PastParty): boolean => 'system' in party;
      const system = parties.some(isSystem) ? await directory.resolveSystem(app.id) : undefined;
      const users = parties.map((party) => {
        if (isAddress(party)) return found.next().value;
        return isSystem(party) ? system : undefined;
      });
      // Where the other one is nobody, nobody gets a row for it: they stand side by side.
      const unused = users.filter((user, i) => !(users[i ^ 1] instanceof ImidError)).filter(isUnused);
      if (unused.length === 0)
        return messages.map((each, i) => toPlaced(app, each, users[2 * i], users[2 * i + 1]));
      await directory.insertNames(
        app.id,
        unused.map(({ name }) => name),
      );
    }
  }

  /** Stores those that aren't there yet; undefined, and nothing is stored, where somebody was in the way. */
  async function attempt(
    app: App,
    placed: readonly (PlacedMessage | ImidError)[],
  ): Promise<(Joined | ImidError)[] | undefined> {
    const good = placed.filter((each): each is PlacedMessage => !(each instanceof ImidError));
    const known = await findKnown(kysely, app.id, good.map(toKnown));
    const joined = new Map<string, Joined>();
    const fresh = new Map<string, SoundMessage>();
    for (const [i, each] of good.entries()) {
      const there = known.get(i);
      if (there) joined.set(each.key, { ...there, status: 'existing' });
      else if (isSound(each) && !fresh.has(each.key)) fresh.set(each.key, each);
    }
    const stored = await store(app, [...fresh.values()]);
    if (!stored) return undefined;
    for (const [i, key] of [...fresh.keys()].entries()) {
      const { id: messageId, recipientSeq: seq } = stored[i]!;
      joined.set(key, { messageId, seq, status: 'created' });
    }
    return placed.map((each) => {
      if (each instanceof ImidError) return each;
      const result = joined.get(each.key);
      if (!result) return each.recipient as ImidError;
      joined.set(each.key, { ...result, status: 'existing' }); // for whoever repeats it within the batch
      return result;
    });
  }

  async function store(
    app: App,
    messages: readonly SoundMessage[],
  ): Promise<readonly ImportedMessage[] | undefined> {
    if (messages.length === 0) return [];
    try {
      return await transact(kysely, async (trx) => {
        const inboxes = await lockInboxes(trx, app.id, rowsOf(messages), LOCK_PATIENCE_MS);
        const numbered = number(messages, inboxes);
        if (numbered) await insertImported(trx, app.id, inboxes, numbered);
        return numbered;
      });
    } catch (error) {
      if (isLockTimeout(error) || REPEATED.has(violatedUnique(error) ?? '')) return undefined;
      throw error;
    }
  }

  async function join(
    app: App,
    messages: readonly NamedMessage[],
    placing: ReturnType<typeof place>,
  ): Promise<(Joined | ImidError)[]> {
    const patientUntil = performance.now() + PATIENCE_MS;
    for (let placed = await placing; ; placed = await place(app, messages)) {
      const results = await attempt(app, placed);
      if (results) return results;
      if (performance.now() > patientUntil)
        throw new ImidError('unavailable', 'Users of these lines are being changed; send the rest again.');
      await sleep(PAUSE_MS);
    }
  }

  return {
    now: (): Date => clock.now(),

    /**
     * Begins to bring messages along, batch by batch: results in order, and one that fails stops no other. A batch may be
     * given before the last one is stored; it is stored behind that, and not at all where that fails.
     */
    begin(app: App): (messages: readonly PastMessage[]) => Promise<(Joined | ImidError)[]> {
      const name = createNaming();
      let last: Promise<unknown> = Promise.resolve();
      return (messages) => {
        const named = messages.map(name);
        const placing = place(app, named);
        placing.catch(() => {}); // it is waited for once the last batch is stored
        const joined = last.then(() => join(app, named, placing));
        last = joined;
        return joined;
      };
    },

    /** The messages of an app by their ids, or those of one inbox by their seqs, as they all were at one moment. */
    async *exportAll(app: App, inboxId?: number): AsyncGenerator<ExportedMessage[]> {
      yield* streamMessages(await database.openLongConnection(), app.id, inboxId);
    },
  };
}

function isUnused(user: Found | ImidError | undefined): user is Found {
  return user !== undefined && !(user instanceof ImidError) && user.id === undefined;
}

/** Of parties that were found, or are errors. */
function toPlaced(
  app: App,
  message: NamedMessage,
  sender: Found | ImidError | undefined,
  recipient: Found | ImidError | undefined,
): PlacedMessage | ImidError {
  if (sender instanceof ImidError) return new ImidError(sender.code, `from: ${sender.message}`);
  const { from, to, messageId, part, id } = message;
  return {
    ...message,
    sender: toRow(app, from, sender),
    recipient: recipient instanceof ImidError ? asUnknown(recipient) : toRow(app, to, recipient),
    key: sender ? `${sender.id}:${part}:${id}` : messageId,
  };
}

/** Who is not found when looked up is an unknown recipient when written to. */
function asUnknown({ code, message }: ImidError): ImidError {
  return new ImidError(code === 'not_found' ? 'unknown_recipient' : code, `to: ${message}`);
}

const toKnown = ({ messageId, sender, id, part }: PlacedMessage) => ({
  id: messageId,
  senderId: sender?.id,
  clientId: id,
  part,
});
