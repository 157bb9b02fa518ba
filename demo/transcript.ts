// What a person reads: the two schemes in two columns, step by step, and what was checked on the way.
// Narrower terminals get the columns one below the other.

import assert from 'node:assert/strict';
import { inspect, styleText } from 'node:util';

export type Scheme = 'composed' | 'registered';
/** Adds a line to the column of the scheme. */
export type Tell = (scheme: Scheme, who: string, text: string) => void;

interface Line {
  scheme: Scheme;
  who: string;
  text: string;
}

const SCHEMES = ['composed', 'registered'] as const;
const COLOURS = { composed: 'cyan', registered: 'magenta' } as const;
const COLUMN_WIDTH = 56;
const WHO_WIDTH = 8;
const CHECK = '✓';
const NO_CELL = ' '.repeat(COLUMN_WIDTH);

export type Transcript = ReturnType<typeof createTranscript>;

export function createTranscript() {
  const isWide = (process.stdout.columns ?? Infinity) > 2 * COLUMN_WIDTH + 3;
  const seen = new Set<string>();
  let lines: Line[] = [];
  let steps = 0;
  let checks = 0;

  // Who has read enough (`| head`) doesn't end the play.
  process.stdout.on('error', () => {});
  const print = (text = ''): void => void process.stdout.write(`${text.trimEnd()}\n`);

  /** Writes an imId of the registered scheme out where it comes up first, and then by its end. */
  function shorten(text: string): string {
    return text.replaceAll(/\bim_[0-9a-z]{21}([0-9a-z]{5})/g, (imId, end: string) => {
      if (seen.has(imId)) return `im_…${end}`;
      seen.add(imId);
      return imId;
    });
  }

  function tell(scheme: Scheme, who: string, text: string): void {
    lines.push({ scheme, who, text: shorten(text) });
  }

  async function step(
    title: string,
    act: () => Promise<unknown>,
    lay: (lines: Line[]) => string[],
  ): Promise<void> {
    print();
    print(styleText('bold', `${(steps += 1)}  ${title}`));
    try {
      await act();
    } finally {
      for (const row of lay(lines)) print(row);
      lines = [];
    }
  }

  const row = (left: string, right: string): string => `${left} ${styleText('dim', '│')} ${right}`;

  function sideBySide(told: Line[]): string[] {
    const [left, right] = SCHEMES.map((scheme) =>
      told.filter((line) => line.scheme === scheme).flatMap(cells),
    );
    if (!isWide) return [...left!, '', ...right!];
    const height = Math.max(left!.length, right!.length);
    return Array.from({ length: height }, (_, i) => row(left![i] ?? NO_CELL, right![i] ?? ''));
  }

  /** In the order in which it was told, each line in its own column. */
  function ladder(told: Line[]): string[] {
    const place = (line: Line, cell: string): string =>
      line.scheme === 'composed' ? row(cell, '') : row(NO_CELL, cell);
    return told.flatMap((line) => cells(line).map((cell) => (isWide ? place(line, cell) : cell)));
  }

  return {
    tell,
    print,

    /** Throws an AssertionError that says in one line what should be and what is. */
    check(scheme: Scheme, what: string, actual: unknown, expected: unknown): void {
      assert.deepEqual(
        actual,
        expected,
        `${what} (${scheme}): should be ${inLine(expected)}, is ${inLine(actual)}`,
      );
      checks += 1;
      tell(scheme, CHECK, what);
    },

    head(title: string): void {
      print(title);
      if (!isWide) return;
      const name = (scheme: Scheme): string =>
        styleText(COLOURS[scheme], scheme.toUpperCase().padEnd(COLUMN_WIDTH));
      const rule = '─'.repeat(COLUMN_WIDTH);
      print();
      print(row(name('composed'), name('registered')));
      print(styleText('dim', `${rule}─┼─${rule}`));
    },

    /** The same act in either scheme, at the same time. */
    sideBySide: (title: string, act: (scheme: Scheme) => Promise<void>): Promise<void> =>
      step(title, () => Promise.all(SCHEMES.map(act)), sideBySide),

    /** One act in which both schemes take part. */
    across: (title: string, act: () => Promise<void>): Promise<void> => step(title, act, ladder),

    get checks(): number {
      return checks;
    },
  };
}

/** A line in a column: who in front, the text wrapped behind. */
function cells({ scheme, who, text }: Line): string[] {
  const isCheck = who === CHECK;
  return wrap(text, COLUMN_WIDTH - WHO_WIDTH).map((piece, i) => {
    const front = (i > 0 ? '' : isCheck ? who.padStart(WHO_WIDTH - 1) : who).padEnd(WHO_WIDTH);
    const rest = piece.padEnd(COLUMN_WIDTH - WHO_WIDTH);
    return (
      styleText(isCheck ? 'green' : COLOURS[scheme], front) + (isCheck ? styleText('green', rest) : rest)
    );
  });
}

function wrap(text: string, width: number): string[] {
  const pieces = [''];
  for (const word of text.split(' ')) {
    const longer = `${pieces.at(-1)} ${word}`.trimStart();
    if (longer.length > width) pieces.push(word);
    else pieces[pieces.length - 1] = longer;
  }
  return pieces;
}

function inLine(value: unknown): string {
  return inspect(value, { breakLength: Infinity, depth: 5 });
}
