// Until when a user doesn't want to be disturbed.

import { LRUCache } from 'lru-cache';
import type { QuietHours } from '../store/push_standings.ts';

const MINUTES_OF_DAY = 1_440;
const MINUTE_MS = 60_000;

const formats = new LRUCache<string, Intl.DateTimeFormat>({
  max: 1_000,
  memoMethod: (timeZone) =>
    new Intl.DateTimeFormat('en', { timeZone, hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }),
});

/** The end of the quiet hours that it is in now; undefined: it is in none. From and to the same: all day. */
export function endOfQuietHours({ from, to, timeZone }: QuietHours, now: Date): Date | undefined {
  const format = formats.memo(timeZone);
  const minute = minuteOf(format.format(now));
  const end = minuteOf(to);
  const length = modulo(end - minuteOf(from)) || MINUTES_OF_DAY;
  const left = modulo(end - minute) || MINUTES_OF_DAY;
  if (left > length) return undefined;
  const at = new Date(Math.floor(now.getTime() / MINUTE_MS) * MINUTE_MS + left * MINUTE_MS);
  // Where the clocks change meanwhile it is more or less; where they skip the end it stays as it is.
  const off = modulo(end - minuteOf(format.format(at)) + MINUTES_OF_DAY / 2) - MINUTES_OF_DAY / 2;
  const changed = new Date(at.getTime() + off * MINUTE_MS);
  return minuteOf(format.format(changed)) === end ? changed : at;
}

function minuteOf(time: string): number {
  const [hours, minutes] = time.split(':').map(Number) as [number, number];
  return hours * 60 + minutes;
}

function modulo(minutes: number): number {
  return ((minutes % MINUTES_OF_DAY) + MINUTES_OF_DAY) % MINUTES_OF_DAY;
}
