// Renaming by a list of any length: all of it or nothing. The list may come in slowly; no user has to wait for that.

import { ImidError } from '../errors.ts';
import type { Name } from '../ids.ts';
import type { Connection, Database } from '../store/database.ts';
import type { Hashes } from '../store/former_names.ts';
import {
  createRenameList,
  findFaultCodes,
  findFaults,
  findRenames,
  stageFaults,
  stageRenames,
  streamFaults,
  summariseRenames,
  type RenameFault,
  type RenameSummary,
} from '../store/rename_list.ts';
import { lockLists, renameListed, settleListed } from '../store/renaming.ts';
import type { Lookups } from './lookups.ts';
import type { AppSchemes } from './schemes.ts';

export type { RenameFault, RenameSummary } from '../store/rename_list.ts';

/** A portion of a list: lines that could be read, and what is wrong with the others. */
export interface RenameLines {
  renames: { line: number; name: Name; newName: Name }[];
  faults: RenameFault[];
}

export type Renaming = ReturnType<typeof createRenaming>;

/** Each holds a connection to the database while it comes in. */
const LISTS_MAX = 4;
const ROUNDS_MAX = 5;
const FAULTS_TOLD = 100;

export interface RenamingOptions {
  database: Database;
  lookups: Lookups;
  hashes: Hashes;
}

export function createRenaming({ database, lookups, hashes }: RenamingOptions) {
  let open = 0;

  /** Reads a list to its end, onto a connection of its own, which is to be closed. */
  async function openList(app: AppSchemes, list: AsyncIterable<RenameLines>) {
    if (open === LISTS_MAX)
      throw new ImidError('rate_limited', `${LISTS_MAX} lists are coming in already; send this one later.`);
    open += 1;
    try {
      const client = await database.openLongConnection();
      try {
        await createRenameList(client);
        await stage(client, app, list);
      } catch (error) {
        await client.end();
        throw error;
      }
      return {
        client,
        async close() {
          open -= 1;
          await client.end();
        },
      };
    } catch (error) {
      open -= 1;
      throw error;
    }
  }

  async function stage(client: Connection, app: AppSchemes, list: AsyncIterable<RenameLines>): Promise<void> {
    let staging: Promise<unknown> = Promise.resolve();
    for await (const { renames, faults } of list) {
      const hashed = renames.map((rename) => ({ ...rename, nameHash: hashes.ofName(app.id, rename.name) }));
      // One portion is stored while the next one is read; if that fails, it is heard of here.
      await staging;
      staging = Promise.all([stageRenames(client, hashed), stageFaults(client, faults)]);
      staging.catch(() => {});
    }
    await staging;
  }

  return {
    /**
     * Renames all users of a list, or none; they may swap names, and follow one another in rings and chains. The former
     * names are free when this resolves. Throws what is wrong with the list, the first hundred faults by line.
     */
    async rename(app: AppSchemes, list: AsyncIterable<RenameLines>): Promise<number> {
      const { client, close } = await openList(app, list);
      try {
        await lockLists(client, app.id);
        for (let round = 0; round < ROUNDS_MAX; round++) {
          const tried = await renameListed(client, {
            appId: app.id,
            registeredOnly: isRegisteredOnly(app),
            hashes,
          });
          if (!tried) continue;
          if (tried.isFaulty) throw await tellFaults(client);
          lookups.forget();
          await settleListed(client, app.id, tried.provisional);
          return tried.renamed;
        }
        throw new ImidError('conflict', 'Users of this list keep changing their names; none was renamed.');
      } finally {
        await close();
      }
    },

    /** Tells all that is wrong with a list, in the order of its lines, and at last what it comes to. Changes nothing. */
    async *check(
      app: AppSchemes,
      list: AsyncIterable<RenameLines>,
    ): AsyncGenerator<RenameFault[], RenameSummary> {
      const { client, close } = await openList(app, list);
      try {
        await findRenames(client, app.id, isRegisteredOnly(app));
        const summary = await summariseRenames(client);
        yield* streamFaults(client);
        return summary;
      } finally {
        await close();
      }
    },
  };
}

function isRegisteredOnly(app: AppSchemes): boolean {
  return !app.schemes.includes('composed');
}

async function tellFaults(client: Connection): Promise<ImidError> {
  const { faults } = await summariseRenames(client);
  const [code, ...others] = await findFaultCodes(client);
  const first = await findFaults(client, FAULTS_TOLD);
  const words = faults === 1 ? 'is one fault' : `are ${faults} faults`;
  return new ImidError(
    others.length === 0 ? code! : 'conflict',
    `There ${words} in the list; nobody was renamed.`,
    {
      errors: first.map(({ line, field, detail }) => ({
        in: 'body',
        pointer: field ? `#/${line}/${field}` : `#/${line}`,
        detail,
      })),
    },
  );
}
