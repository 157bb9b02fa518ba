// Lets the two phones talk by themselves, so that one can watch what happens meanwhile. Whoever is in the background says
// nothing; when nobody reads any more it stops.

import type { Phone } from './phone.ts';

const LINES: readonly [string, string][] = [
  ['Hi Bob!', 'Hi Alice. How do you know my name?'],
  ['You are {"uid": "bob"} to me.', 'And you are an imId to me.'],
  ['Do you need to know my uid?', 'No. I am never shown it.'],
  ['Who keeps the list of ids?', 'For you nobody. For me one row.'],
  ['Is anything lost meanwhile?', 'Look at the numbers: no gaps.'],
  ['Coffee at four?', 'Coffee at four.'],
];
const PAUSE_MS = 650;
const TYPING_MS = 350;
const UNREAD_MAX = 4;
const SAID_MAX = 60;

export function createTalk(phones: { a: Phone; b: Phone }, onChange: (isTalking: boolean) => void) {
  let talking: AbortController | undefined;
  let said = 0;

  const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

  const canGoOn = (): boolean =>
    phones.a.state === 'open' &&
    phones.b.state === 'open' &&
    Math.max(phones.a.unread, phones.b.unread) < UNREAD_MAX &&
    (phones.a.isForeground || phones.b.isForeground);

  async function talk(signal: AbortSignal): Promise<void> {
    for (let left = SAID_MAX; left > 0 && canGoOn(); left--) {
      const { phone, line } = next();
      if (!phone.isForeground) continue;
      phone.type();
      await wait(TYPING_MS);
      if (signal.aborted) return;
      await phone.say(line);
      await wait(PAUSE_MS);
      if (signal.aborted) return;
    }
    stop();
  }

  function next(): { phone: Phone; line: string } {
    const [first, second] = LINES[Math.floor(said / 2) % LINES.length]!;
    const isFirst = said % 2 === 0;
    said += 1;
    return isFirst ? { phone: phones.a, line: first } : { phone: phones.b, line: second };
  }

  function stop(): void {
    talking?.abort();
    talking = undefined;
    onChange(false);
  }

  return {
    get isTalking() {
      return talking !== undefined;
    },
    stop,
    start(): void {
      if (talking) return;
      talking = new AbortController();
      onChange(true);
      void talk(talking.signal);
    },
  };
}
