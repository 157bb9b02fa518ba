// Writes docs/client.md from the TSDoc of src/client, or, with --check, fails when the committed page is not what it says.
// What index.ts exports is described, in the order in which it is exported.

import { readFile, writeFile } from 'node:fs/promises';
import { format, resolveConfig } from 'prettier';
import { parseSync, type ESTree } from 'rolldown/utils';

const page = new URL('../docs/client.md', import.meta.url);
const source = new URL('../src/client/', import.meta.url);

type Span = Pick<ESTree.Span, 'start' | 'end'>;

interface Module {
  text: string;
  exports: ESTree.ExportNamedDeclaration[];
  docs: { text: string; end: number }[];
}

async function read(name: string): Promise<Module> {
  const text = await readFile(new URL(name, source), 'utf8');
  const { program, comments } = parseSync(name, text);
  const docs = comments
    .filter(({ type, value }) => type === 'Block' && value.startsWith('*'))
    .map(({ value, end }) => ({ text: value.slice(1).replaceAll(/^ *\* ?/gm, ''), end }));
  return { text, exports: program.body.filter((each) => each.type === 'ExportNamedDeclaration'), docs };
}

/** What stands directly above a place. */
function docAt({ text, docs }: Module, { start }: Span): string {
  return docs.find(({ end }) => end < start && text.slice(end, start).trim() === '')?.text.trim() ?? '';
}

const code = ({ text }: Module, { start, end }: Span): string => text.slice(start, end).replace(/;$/, '');

const inLine = (text: string): string =>
  text
    .replaceAll(/\s+/g, ' ')
    .replaceAll(/\(\s/g, '(')
    .replaceAll(/,?\s\)/g, ')');

const fence = (text: string): string => `\`\`\`ts\n${text.trim()}\n\`\`\``;

/** A member of an interface or a class, with what is said of it. */
function describeMember(module: Module, member: Span): string {
  const doc = docAt(module, member);
  return `- \`${inLine(code(module, member))}\`${doc && `\n\n  ${doc.replaceAll('\n', '\n  ')}`}\n`;
}

function describeDeclaration(module: Module, declaration: ESTree.Declaration): string[] {
  const describeAll = (members: readonly Span[]): string[] =>
    members.map((member) => describeMember(module, member));
  if (declaration.type === 'TSInterfaceDeclaration') return describeAll(declaration.body.body);
  if (declaration.type === 'ClassDeclaration') {
    const head = { start: declaration.start, end: declaration.body.start };
    const fields = declaration.body.body.filter(({ type }) => type === 'PropertyDefinition');
    return [fence(code(module, head)), ...describeAll(fields)];
  }
  const end = declaration.type === 'FunctionDeclaration' ? declaration.body!.start : declaration.end;
  return [fence(code(module, { start: declaration.start, end }))];
}

const nameOf = (declaration: ESTree.Declaration | null): string | undefined =>
  declaration && 'id' in declaration && declaration.id && 'name' in declaration.id
    ? declaration.id.name
    : undefined;

function describe(module: Module, name: string): string {
  const found = module.exports.find(({ declaration }) => nameOf(declaration) === name);
  if (!found?.declaration) throw new Error(`${name} isn't declared where it is exported from`);
  const parts = [`## ${name}`, docAt(module, found), ...describeDeclaration(module, found.declaration)];
  return parts.filter(Boolean).join('\n\n');
}

async function write(): Promise<string> {
  const index = await read('index.ts');
  const sections: string[] = [];
  for (const { declaration } of index.exports)
    if (declaration) sections.push(describe(index, nameOf(declaration)!));
  for (const { source: from, specifiers } of index.exports.filter((each) => each.source)) {
    const module = await read(from!.value);
    for (const { exported } of specifiers)
      sections.push(describe(module, 'name' in exported ? exported.name : exported.value));
  }
  const guide = index.docs.find(({ text }) => text.includes('@packageDocumentation'));
  const intro = guide?.text.replace('@packageDocumentation', '').trim() ?? '';
  const text = [
    '<!-- Written by `npm run client:docs` from the TSDoc of src/client. -->',
    intro,
    '# Reference',
    ...sections,
  ];
  return format(text.join('\n\n'), { ...(await resolveConfig(page)), parser: 'markdown' });
}

const text = await write();
if (!process.argv.includes('--check')) {
  await writeFile(page, text);
  console.log('docs/client.md is written');
} else if ((await readFile(page, 'utf8').catch(() => '')) !== text) {
  console.error('docs/client.md is not what the TSDoc says: run `npm run client:docs` and commit it');
  process.exitCode = 1;
}
