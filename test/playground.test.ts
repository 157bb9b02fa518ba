// The playground as who has never heard of imid meets it: the tour from its start to its end, in a real browser.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import type { Locator, Page } from 'playwright-core';
import { readConfig } from '../src/config.ts';
import { testInBrowser } from './browser.ts';
import { ADMIN_KEY, eventually, startService, type Service } from './harness.ts';

let service: Service;
before(async () => {
  service = await startService({ app: { playground: true } });
});

testInBrowser('two phones talk, while one is adopted, renamed, and the other put away', async (page) => {
  const complaints = listen(page);
  await open(page, ADMIN_KEY);
  const [a, b] = [page.getByLabel('Phone A'), page.getByLabel('Phone B')];
  await press(page, 'Give Alice a token');
  await a.getByText('connected').waitFor();
  const appId = await page.locator('#app-id').innerText();
  await page.getByRole('cell', { name: `${appId}:alice`, exact: true }).waitFor();
  await press(page, 'Register Bob');
  await b.getByText('connected').waitFor();
  await showRows(page, '1 row', '1 row');
  const bob = await b.locator('.me').innerText();
  assert.match(bob, /^im_\w{26}$/);

  await press(page, 'Let them talk');
  await Promise.all([said(a, 1), said(b, 1)]);
  await press(page, 'Adopt Alice');
  await row(page, 'registered', 'alice').waitFor();
  await showRows(page, '0 rows', '2 rows');
  await bothGoOn(a, b);
  await press(page, 'Rename her to alicia');
  await row(page, 'registered', 'alicia').waitFor();
  await a.locator('.me').getByText('alicia').waitFor();
  await bothGoOn(a, b);
  assert.equal(await claim(a, 'sub'), `${appId}:alice`);
  assert.equal(await claim(b, 'sub'), bob);
  const frames = await b.locator('.frames').innerText();
  assert.match(frames, /"type":"message"/);
  assert.doesNotMatch(frames, /"uid"|"userId"|alici/);

  await press(page, 'Put phone B in the background');
  await b.locator('.home .badge', { hasText: /^[2-9]$/ }).waitFor();
  await a.locator('.mine small', { hasText: /\d ✓$/ }).nth(1).waitFor();
  const { body } = await service.call('GET', `/v1/apps/${appId}/presence?imId=${bob}`);
  assert.equal(body.items[0].foreground, false);
  await press(page, 'Bring phone B back');
  await b.getByRole('log').waitFor();
  await eventually(async () => {
    const ticks = await a.locator('.mine small').allInnerTexts();
    return ticks.every((each) => each.endsWith('✓✓'));
  }, 'two ticks at all that Alice has said');
  await assertNoGaps(a, b);

  await b.getByRole('button', { name: 'Pause' }).click();
  await a.getByLabel('Message').fill('<b>by hand</b>');
  await page.keyboard.press('Enter');
  await b.locator('.theirs', { hasText: '<b>by hand</b>' }).waitFor();
  assert.doesNotMatch(await b.locator('.frames').innerText(), /by hand/);
  await b.getByRole('button', { name: /^Go on \(\d+ new\)$/ }).click();
  assert.match(await b.locator('.frames').innerText(), /by hand/);

  await press(page, 'Close the tour');
  for (const letter of ['v', 'w']) {
    await page.getByLabel('userId', { exact: true }).first().fill(letter.repeat(64));
    await page.keyboard.press('Enter');
    await row(page, 'registered', letter.repeat(64)).waitFor();
  }
  for (const width of [390, 900, 1280]) {
    await page.setViewportSize({ width, height: 800 });
    assert.deepEqual(await page.evaluate(findSpilt), [], `${width} pixels wide`);
  }
  assert.deepEqual(complaints, []);
  await page.goto('about:blank');
  await eventually(
    async () => (await service.call('GET', `/v1/apps/${appId}`)).status === 404,
    'the app to be deleted',
  );
});

testInBrowser(
  'whoever has no admin key is told so; everything on the page has a name, and any uid can log in',
  async (page) => {
    await open(page, 'not-the-key');
    await page.getByRole('alert').getByText(/key/i).waitFor();
    await page.getByLabel('Admin key').fill(ADMIN_KEY);
    await page.getByRole('button', { name: 'Open the playground' }).click();
    await page.getByRole('button', { name: 'Give Alice a token' }).waitFor();
    const a = page.getByLabel('Phone A');
    await a.getByLabel('uid', { exact: true }).fill('unseen\u200b');
    await page.keyboard.press('Enter');
    await page.getByRole('alert').getByText(/uid/).waitFor();
    await a.getByLabel('uid', { exact: true }).fill('zoë/日本 🙂');
    await page.keyboard.press('Enter');
    await a.locator('.claims').getByText(':zoë/日本 🙂').waitFor();
    const nameless = await page
      .locator('button, input, select, progress, [role=log]')
      .evaluateAll((elements) =>
        elements
          .map((element) => element as HTMLElementOf)
          .filter((element) => !element.labels?.length && !element.ariaLabel && !element.textContent)
          .map((element) => element.outerHTML),
      );
    assert.deepEqual(nameless, []);
  },
);

test('the page runs no script but its own, and nothing in it is markup by accident', async () => {
  const { headers } = await service.call('GET', '/playground', { key: '' });
  const policy = headers.get('content-security-policy')!;
  assert.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self';/);
  assert.match(policy, /require-trusted-types-for 'script'/);
  assert.doesNotMatch(policy, /unsafe/);
  assert.equal(headers.get('x-frame-options'), 'DENY');
});

test('without IMID_PLAYGROUND=true there is none', async () => {
  assert.equal(readConfig({}).playground, false);
  assert.equal(readConfig({ IMID_PLAYGROUND: 'true' }).playground, true);
  assert.throws(() => readConfig({ IMID_PLAYGROUND: 'yes' }), /IMID_PLAYGROUND must be true or false/);
  const plain = await startService({ on: service });
  for (const path of ['/playground', '/playground/page/main.ts', '/playground/client/index.ts']) {
    const off = await plain.call('GET', path, { key: '' });
    assert.deepEqual([off.status, off.body.code], [404, 'not_found'], path);
    assert.equal((await service.call('GET', path, { key: '' })).status, 200, path);
  }
  assert.equal((await service.call('GET', '/playground/page/tsconfig.json', { key: '' })).status, 404);
});

/** What is wider than it may be, or lower than the page. */
const findSpilt = `(() => {
  const { scrollWidth, scrollHeight, clientWidth } = document.documentElement;
  const wide = [...document.querySelectorAll('.backend, .log')].filter((each) => each.scrollWidth > each.clientWidth);
  const bottom = Math.max(innerHeight, stage.getBoundingClientRect().bottom + scrollY + 24);
  return [scrollWidth > clientWidth && 'the page', ...wide.map((each) => each.className), scrollHeight > bottom && 'low']
    .filter(Boolean);
})()`;

interface HTMLElementOf {
  labels?: { length: number };
  ariaLabel: string | null;
  textContent: string;
  outerHTML: string;
}

/** What the page complains of, and asks for elsewhere. */
function listen(page: Page): string[] {
  const complaints: string[] = [];
  page.on('console', (message) => complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== service.url) complaints.push(request.url());
  });
  return complaints;
}

async function open(page: Page, key: string): Promise<void> {
  // The two take their time, so that people can read.
  await page.addInitScript(() => {
    const wait = globalThis.setTimeout;
    Object.assign(globalThis, {
      setTimeout: (act: () => void, ms = 0) => wait(act, ms < 1_000 ? ms / 10 : ms),
    });
  });
  await page.goto(`${service.url}/playground`);
  await page.getByLabel('Admin key').fill(key);
  await page.getByRole('button', { name: 'Open the playground' }).click();
}

/** The next step of the tour, once it is that. */
const press = (page: Page, name: string): Promise<void> =>
  page.locator('#tour-do', { hasText: name }).click();

/** Waits until the page says that so much is stored. */
async function showRows(page: Page, composed: string, registered: string): Promise<void> {
  await page.locator('table.composed .rows', { hasText: composed }).waitFor();
  await page.locator('table.registered .rows', { hasText: registered }).waitFor();
}

const row = (page: Page, scheme: string, name: string): Locator =>
  page.locator(`table.${scheme} tbody th`).getByText(name, { exact: true });

const claim = (phone: Locator, name: string): Promise<string> =>
  phone.locator('.claims div', { hasText: name }).locator('dd').innerText();

/** Waits until so many have come from the other side. */
const said = (phone: Locator, count: number): Promise<void> =>
  phone
    .locator('.theirs')
    .nth(count - 1)
    .waitFor();

async function bothGoOn(a: Locator, b: Locator): Promise<void> {
  const heard = await Promise.all([a, b].map((phone) => phone.locator('.theirs').count()));
  await Promise.all([said(a, heard[0]! + 1), said(b, heard[1]! + 1)]);
}

/** Both have the same, and the numbers go on from 1. */
async function assertNoGaps(a: Locator, b: Locator): Promise<void> {
  const [shownA = [], shownB = []] = await eventually(async () => {
    const shown = await Promise.all([a, b].map((phone) => phone.locator('.chat li').allInnerTexts()));
    const texts = shown.map((each) => each.map((text) => text.replaceAll(/[\s✓]+/g, ' ').trim()));
    return texts[0]!.length === texts[1]!.length && texts;
  }, 'both to have the same');
  assert.deepEqual(shownA, shownB);
  assert.deepEqual(
    shownA.map((text) => Number(/#(\d+)$/.exec(text)![1])),
    shownA.map((_text, i) => i + 1),
  );
}
