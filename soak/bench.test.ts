// The benches as a smoke test, with little of everything: each figure is there. None is judged, since this machine may
// be doing anything else.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const MAIN = fileURLToPath(new URL('../bench/main.ts', import.meta.url));
const TIMEOUT_MS = 300_000;

interface Shown {
  rows: Map<string, string[]>;
  chart: string;
}

/** Runs a bench; gives back the rows of its table, by their first cells, and its chart. */
async function runBench(t: TestContext, name: string): Promise<Shown> {
  const folder = await mkdtemp(join(tmpdir(), 'imid-bench-test-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const args = [MAIN, name, '--quick', '--out', folder];
  await promisify(execFile)(process.execPath, args, { timeout: TIMEOUT_MS });
  const page = await readFile(join(folder, `${name}.md`), 'utf8');
  const rows = [...page.matchAll(/^\| (.+) \|$/gm)].map(([, cells]) => cells!.trim().split(/ *\| */));
  return {
    rows: new Map(rows.map((cells) => [cells[0]!.replaceAll('`', ''), cells.slice(1)])),
    chart: await readFile(join(folder, `${name}.svg`), 'utf8'),
  };
}

/** The numbers in a text. */
const numbersIn = (text: string | undefined): number[] =>
  [...(text ?? '').matchAll(/\d[\d,]*(\.\d+)?/g)].map(([digits]) => Number(digits.replaceAll(',', '')));

/** There is a row of each of these titles, with its figures, and a bar. */
function assertRows({ rows, chart }: Shown, titles: readonly RegExp[]): void {
  for (const title of titles) {
    const found = [...rows.keys()].find((candidate) => title.test(candidate));
    assert.ok(found !== undefined, `no row ${title.source}`);
    const [ours, beside, figure, , , target, reached] = rows.get(found)!;
    for (const cell of [ours, beside, figure, target]) {
      const [number] = numbersIn(cell);
      assert.ok(number !== undefined && number > 0, `${found}: ${cell}`);
    }
    assert.match(reached!, /^(yes|no)$/);
    assert.ok(chart.includes(found), `${found} isn't in the chart`);
  }
  assert.doesNotMatch(chart, /NaN|Infinity/);
}

test('the bench of identities measures each thing beside a bare one, and says whether the target is reached', async (t) => {
  assertRows(await runBench(t, 'identity'), [
    /^one resolve, composed$/,
    /^one resolve, registered, cached$/,
    /^one resolve, registered, never asked for before$/,
    /^1000 addresses in one resolve/,
    /^import of users/,
    /^renaming [\d,]+ users by a list$/,
    /^one resolve at [\d,]+ rows$/,
    /^one registration at [\d,]+ rows$/,
  ]);
});

test('the bench of messaging measures each thing beside a relay, and says whether the target is reached', async (t) => {
  assertRows(await runBench(t, 'messaging'), [
    /^\d+ clients, window 8$/,
    /^\d+ clients, window 1$/,
    /^until received, \d+ clients, window 1$/,
    /^connects with fresh tokens, \d+ at a time$/,
    /^sending in a database of [\d,]+ messages$/,
    /^sending into inboxes of [\d,]+ messages$/,
    /^the last 100 in a database of [\d,]+ messages$/,
    /^the last 100 of an inbox of [\d,]+ messages$/,
    /^100 from anywhere in an inbox of [\d,]+ messages$/,
  ]);
});

test('the bench of push measures it beside a bare client and beside no push, and says whether the target is reached', async (t) => {
  assertRows(await runBench(t, 'push'), [
    /^until answered, \d+ senders to [\d,]+ users who are offline$/,
    /^pushes by the provider of APNs alone, \d+ at a time$/,
    /^pushes to [\d,]+ users who are offline, APNs checks each$/,
    /^pushes to [\d,]+ users who are offline, APNs checks none$/,
    /^\d+ clients, window 8, while [\d,]+ pushes are due$/,
    /^until received, while [\d,]+ pushes are due$/,
    /^memory when [\d,]+ pushes have drained$/,
  ]);
});

test('the bench of the client library measures it beside bare sockets, and says whether the target is reached', async (t) => {
  assertRows(await runBench(t, 'client'), [
    /^size of the library, minified and gzipped$/,
    /^\d+ clients, window 8$/,
    /^\d+ clients, window 8, on the same kind of socket$/,
    /^\d+ clients in one process, connecting$/,
    /^\d+ clients in one process, each sends and receives$/,
    /^memory of \d+ clients in one process$/,
  ]);
});

test('the bench of tokens measures each thing beside a bare one, and says whether the target is reached', async (t) => {
  assertRows(await runBench(t, 'tokens'), [
    /^issuing over HTTP, \d+ API keys of \d+ apps in use$/,
    /^verifying at a connect$/,
    /^memory of [\d,]+ live revocations$/,
    /^a check among [\d,]+ revocations$/,
    /^a look for news among [\d,]+ revocations$/,
  ]);
});

test('the bench of the schemes measures both at each number of users', async (t) => {
  const { rows, chart } = await runBench(t, 'schemes');
  for (const title of [
    'Resolve, cold',
    'Resolve, warm',
    'send on the wire',
    'message on the wire',
    'Messages sent',
  ]) {
    const [, ...cells] = rows.get(title) ?? [];
    assert.equal(cells.length, 3, `no row ${title}`);
    for (const cell of cells) assert.ok(numbersIn(cell)[0]! > 0, `${title}: ${cell}`);
  }
  const composedIsFree = [
    'REST calls to bring a user in',
    'Bringing one more user in',
    'Bringing all in, by an import',
    'Stored here per user, before its first message',
    'Kept at the customer per user',
  ];
  for (const title of composedIsFree) {
    const [, composed, registered] = rows.get(title) ?? [];
    assert.equal(composed, '0', title);
    assert.ok(numbersIn(registered)[0]! > 0, `${title}: ${registered}`);
  }
  const [, composed, registered, both] = rows.get('A typo in the address')!;
  assert.equal(composed, '`uid`: `sent`, 1 inbox for nobody');
  assert.equal(registered, '`imId`, `userId`: `unknown_recipient`');
  assert.equal(both, '`uid`: `sent`, 1 inbox for nobody; `imId`, `userId`: `unknown_recipient`');
  assert.doesNotMatch(chart, /NaN|Infinity/);
});
