// Where results go: Markdown and a chart in a folder, and the headline in the README, between its markers.

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';

/** What a suite comes to. */
export interface Result {
  name: string;
  title: string;
  table: string;
  headline: string;
  chart: string;
  /** What the chart shows. */
  alt: string;
}

export interface Report extends Result {
  /** When and where. */
  setting: string;
}

export const RESULTS = fileURLToPath(new URL('../results', import.meta.url));
const README = fileURLToPath(new URL('../../README.md', import.meta.url));

export async function writeResult(folder: string, report: Report): Promise<void> {
  await mkdir(folder, { recursive: true });
  const page = `# ${report.title}\n\n${report.setting}\n\n![${report.alt}](${report.name}.svg)\n\n${report.table}\n`;
  await writeFile(join(folder, `${report.name}.md`), await tidy(page));
  await writeFile(join(folder, `${report.name}.svg`), report.chart);
}

export async function writeProfile(folder: string, name: string, page: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, `${name}-profile.txt`), page);
}

/** Throws where the README has no place for it. */
export async function writeHeadline(report: Report): Promise<void> {
  const text = await readFile(README, 'utf8');
  const [start, end] = [`<!-- bench:${report.name} -->`, `<!-- /bench:${report.name} -->`];
  const [before, rest] = text.split(start);
  const [, after] = rest?.split(end) ?? [];
  if (before === undefined || after === undefined) throw new Error(`The README has no ${start} … ${end}`);
  const link = `bench/results/${report.name}`;
  const body = `${report.headline}\n\n![${report.alt}](${link}.svg)\n\nAll figures and how they were taken: [${link}.md](${link}.md).`;
  await writeFile(README, await tidy(`${before}${start}\n\n${body}\n\n${end}${after}`));
}

async function tidy(markdown: string): Promise<string> {
  return format(markdown, { ...(await resolveConfig(README)), parser: 'markdown' });
}
