// Lists of dead tokens that a vendor only tells when it is asked, beside what it answers to a send.

import type { Outcome } from './contract.ts';

export interface GoneFeed {
  /** Those that came since it was asked last; fewer where it doesn't answer, and the rest at the next time. */
  pollGone(): Promise<{ token: string; since?: Date | undefined }[]>;
}

/** A vendor hands out so many at a time that nobody has more pages. */
const PAGES_MAX = 100;

/** Whatever pages there are, until one brings nothing new: some vendors forget what they have told, others don't. */
export async function readFeed(
  page: () => Promise<readonly unknown[] | Outcome>,
): Promise<{ token: string }[]> {
  const found = new Set<string>();
  for (let pages = 0; pages < PAGES_MAX; pages++) {
    const tokens = await page();
    if ('kind' in tokens) break;
    const before = found.size;
    for (const token of tokens) if (typeof token === 'string' && token) found.add(token);
    if (found.size === before) break;
  }
  return Array.from(found, (token) => ({ token }));
}
