// Lists of dead tokens that a vendor only tells when it is asked, beside what it answers to a send.

import type { Outcome } from './contract.ts';

export interface Polled {
  /** Dead, by the vendor: those that came since it was asked last, or all that it knows. */
  tokens: string[];
  /** Why these may not be all. */
  reason?: string | undefined;
}

export interface GoneFeed {
  pollGone(): Promise<Polled>;
}

/** A vendor hands out so many at a time that nobody has more pages. */
const PAGES_MAX = 100;

/** Whatever pages there are, until one brings nothing new: some vendors forget what they have told, others don't. */
export async function readFeed(page: () => Promise<readonly unknown[] | Outcome>): Promise<Polled> {
  const found = new Set<string>();
  for (let pages = 0; pages < PAGES_MAX; pages++) {
    const tokens = await page();
    if ('kind' in tokens)
      return { tokens: [...found], reason: 'reason' in tokens ? tokens.reason : tokens.kind };
    const before = found.size;
    for (const token of tokens) if (typeof token === 'string' && token) found.add(token);
    if (found.size === before) break;
  }
  return { tokens: [...found] };
}
