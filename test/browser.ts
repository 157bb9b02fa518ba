// A browser for tests: a Chromium or Chrome of the system where there is one, else the one that a devDependency
// brings. Where none can start, a test is skipped with one line that says why; under CI it fails.

import { existsSync } from 'node:fs';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import packaged from '@sparticuz/chromium';
import { chromium, type Browser, type LaunchOptions, type Page } from 'playwright-core';

const PROGRAMS = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'];

/** A browser, or in one line why there is none. */
export async function openBrowser(): Promise<Browser | string> {
  let reason = '';
  for (const candidate of [...findPrograms(), { channel: 'chrome' }, unpackPackaged]) {
    try {
      const options: LaunchOptions = typeof candidate === 'function' ? await candidate() : candidate;
      return await chromium.launch({ args: ['--no-sandbox'], ...options });
    } catch (error) {
      reason = String(error);
    }
  }
  const [missing = reason.split('\n', 1)[0]] =
    /error while loading shared libraries: [^\n]*/.exec(reason) ?? [];
  return `no browser can start: ${missing}`;
}

let opening: Promise<Browser | string> | undefined;
after(async () => {
  const browser = await opening;
  if (typeof browser === 'object') await browser.close();
});

/** A test with a page of its own, in the one browser of its file. */
export function testInBrowser(name: string, body: (page: Page) => Promise<void>): void {
  test(name, async (t) => {
    const browser = await (opening ??= openBrowser());
    if (typeof browser === 'string') {
      if (process.env['CI']) throw new Error(browser);
      return t.skip(browser);
    }
    const context = await browser.newContext();
    try {
      await body(await context.newPage());
    } finally {
      await context.close();
    }
  });
}

function findPrograms(): LaunchOptions[] {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  return PROGRAMS.flatMap((program) => folders.map((folder) => join(folder, program)))
    .filter((path) => existsSync(path))
    .map((executablePath) => ({ executablePath }));
}

// Text without a font has no height and can't be clicked, and a small system has none.
const FONTS = `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <dir prefix="relative">fonts</dir>
</fontconfig>
`;

/** Unpacks the browser of the package beside it, once; of several processes that do so at once, one wins. */
async function unpackPackaged(): Promise<LaunchOptions> {
  const unpacked = fileURLToPath(new URL('../unpacked', import.meta.resolve('@sparticuz/chromium')));
  if (!existsSync(unpacked)) {
    const fresh = await mkdtemp(`${unpacked}-`);
    const { TMPDIR } = process.env;
    process.env['TMPDIR'] = fresh; // where the package unpacks to, without asking whether another does so too
    try {
      await packaged.executablePath();
    } finally {
      if (TMPDIR === undefined) delete process.env['TMPDIR'];
      else process.env['TMPDIR'] = TMPDIR;
    }
    await writeFile(join(fresh, 'fonts.conf'), FONTS);
    await rename(fresh, unpacked).catch(() => rm(fresh, { recursive: true }));
  }
  return {
    executablePath: join(unpacked, 'chromium'),
    env: { ...process.env, FONTCONFIG_FILE: join(unpacked, 'fonts.conf') },
  };
}
