// That somebody is writing to somebody: told to whoever is there to see it, and kept nowhere.

import { LRUCache } from 'lru-cache';
import type { AppId } from '../ids.ts';
import type { Directory } from '../identity/directory.ts';
import { findBlockers } from '../store/blocks.ts';
import type { Database } from '../store/database.ts';
import { typingFrame } from './frames.ts';
import type { Hub } from './hub.ts';
import { readPair, writePair, type Rings } from './rings.ts';

/** How often it is told of the same two. */
const INTERVAL_MS = 1_000;
const MAX_PAIRS = 100_000;

export interface TypingOptions {
  database: Database;
  directory: Directory;
  hub: Hub;
  rings: Pick<Rings, 'tellHoldersOf'>;
}

interface Row {
  appId: AppId;
  id: number;
}

export function createTyping({ database: { kysely }, directory, hub, rings }: TypingOptions) {
  const told = new LRUCache<string, true>({
    maxSize: MAX_PAIRS, // with a `max` it makes room for all of them at once
    sizeCalculation: () => 1,
    ttl: INTERVAL_MS,
  });

  async function show({ appId, id }: Row, toId: number): Promise<void> {
    if (!hub.has(toId)) return;
    const sender = await directory.findRow(appId, id);
    if (!sender) return;
    // Asked for each time: what a process remembers of blocks may be older than the answer that said they hold.
    const blockers = await findBlockers(kysely, appId, [toId]);
    if (blockers.some(({ blockedId }) => blockedId === sender.id)) return;
    for (const session of hub.of(toId)) session.tell((viewer) => typingFrame(viewer, appId, sender));
  }

  return {
    async type(from: Row, to: Row): Promise<void> {
      const pair = writePair(from, to.id);
      if (told.has(pair)) return;
      told.set(pair, true);
      rings.tellHoldersOf([to], 'typing', pair);
      await show(from, to.id);
    },

    /** Another process tells that somebody is writing. */
    async hear(ids: readonly string[]): Promise<void> {
      for (const each of ids) await show(...readPair(each));
    },
  };
}
