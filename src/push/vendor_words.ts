// What Android vendors show of a notification: always a title and a body, and both as short as a vendor wants them.

import { hash } from 'node:crypto';
import { Type } from 'typebox';
import type { Notification } from './contract.ts';

const ELLIPSIS = '…';
/** What people take for one character is never cut in two. */
const characterizer = new Intl.Segmenter();

/** Of Huawei, and of Honor, which was a part of it. */
export const BadgeClass = Type.Optional(
  Type.String({
    pattern: '^[\\w.$]{1,200}$',
    description: 'The full name of the activity that the icon opens. Without one there is no badge.',
  }),
);

export const AppName = Type.String({
  minLength: 1,
  maxLength: 20,
  pattern: '\\S',
  description: 'Is shown where a notification brings no title.',
});

/** None is blank, which vendors refuse. */
export function wordsOf({ title, body }: Notification, appName: string): { title: string; body: string } {
  const [above, below] = [title, body].map((words) => (words?.trim() ? words : undefined));
  return below === undefined
    ? { title: appName, body: above ?? appName }
    : { title: above ?? appName, body: below };
}

/** As much from its beginning as has this width, by whatever the vendor counts in. */
export function shorten(text: string, max: number, widthOf = (part: string) => part.length): string {
  if (widthOf(text) <= max) return text;
  let kept = '';
  for (const { segment } of characterizer.segment(text)) {
    if (widthOf(kept + segment + ELLIPSIS) > max) break;
    kept += segment;
  }
  return kept + ELLIPSIS;
}

/** A later one with the same number takes the place of an earlier one on the device. */
export function notifyIdOf({ collapseId, id }: Notification): number {
  return hash('sha256', collapseId ?? id, 'buffer').readUInt32BE() >>> 1;
}
