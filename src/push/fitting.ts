// A notification within a provider's limit: what is too much goes from the end of its body, then of its title.

import type { Notification } from './contract.ts';

const ELLIPSIS = '…';
/** What people take for one character is never cut in two. */
const characterizer = new Intl.Segmenter();

/** There are words to be shown, so that it isn't only for the app. */
export function isShown({ isSilent, title, body }: Notification): boolean {
  return !isSilent && Boolean(title || body);
}

/** What `write` makes of as much of the notification as it takes for at most `maxBytes`; of its data nothing goes. */
export function writeWithin(
  maxBytes: number,
  notification: Notification,
  write: (notification: Notification) => string,
): string {
  const whole = write(notification);
  const isFit = (text: string): boolean => Buffer.byteLength(text) <= maxBytes;
  if (isFit(whole)) return whole;
  let rest = notification;
  for (const field of ['body', 'title'] as const) {
    const characters = Array.from(characterizer.segment(notification[field] ?? ''), ({ segment }) => segment);
    const cutTo = (length: number): Notification => ({
      ...rest,
      [field]: length === 0 ? undefined : characters.slice(0, length).join('') + ELLIPSIS,
    });
    let [short, long] = [0, characters.length];
    while (long - short > 1) {
      const middle = Math.floor((short + long) / 2);
      if (isFit(write(cutTo(middle)))) short = middle;
      else long = middle;
    }
    rest = cutTo(short);
    if (isFit(write(rest))) break;
  }
  return write(rest);
}
