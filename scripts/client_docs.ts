// Writes docs/client.md from the TSDoc of src/client, or, with --check, fails when the committed page is not what it says.
// What index.ts exports is described, in the order in which it is exported.

import { readFile, writeFile } from 'node:fs/promises';
import { format, resolveConfig } from 'prettier';
import { parseSync } from 'rolldown/utils';

const page = new URL('../docs/client.md', import.meta.url);
const source = new URL('../src/client/', import.meta.url);

type Node = Record<string, any> & { type: string; start: number; end: number };

interface Module {
  text: string;
  body: Node[];
  docs: { text: string; end: number }[];
}

async function read(name: string): Promise<Module> {
  const text = await readFile(new URL(name, source), 'utf8');
  const { program, comments } = parseSync(name, text);
  const docs = comments
    .filter(({ type, value }) => type === 'Block' && value.startsWith('*'))
    .map(({ value, end }) => ({
      text: value
        .slice(1)
        .replaceAll(/^ *\* ?/gm, '')
        .trim(),
      end,
    }));
  return { text, body: program.body as unknown as Node[], docs };
}

/** What stands directly above a place. */
function docAt({ text, docs }: Module, start: number): string {
  return docs.find(({ end }) => end < start && text.slice(end, start).trim() === '')?.text ?? '';
}

const code = ({ text }: Module, { start, end }: { start: number; end: number }): string =>
  text.slice(start, end).replace(/;$/, '');

const inLine = (text: string): string =>
  text
    .replaceAll(/\s+/g, ' ')
    .replaceAll(/\(\s/g, '(')
    .replaceAll(/,?\s\)/g, ')');

/** A member of an interface, with what is said of it. */
function describeMember(module: Module, member: Node): string {
  const doc = docAt(module, member.start);
  return `- \`${inLine(code(module, member))}\`${doc && `\n\n  ${doc.replaceAll('\n', '\n  ')}`}\n`;
}

function describe(module: Module, name: string): string | undefined {
  const statement = module.body.find(
    (each) => each['declaration'] && (each['declaration'].id?.name as string) === name,
  );
  if (!statement) return undefined;
  const declaration = statement['declaration'] as Node;
  const parts = [`## ${name}`, docAt(module, statement.start)];
  const fence = (text: string): void => void parts.push(`\`\`\`ts\n${text}\n\`\`\``);
  if (declaration.type === 'TSInterfaceDeclaration')
    parts.push(...(declaration['body'].body as Node[]).map((member) => describeMember(module, member)));
  else if (declaration.type === 'ClassDeclaration') {
    fence(`class ${name} extends ${code(module, declaration['superClass'] as Node)}`);
    const fields = (declaration['body'].body as Node[]).filter(({ type }) => type === 'PropertyDefinition');
    parts.push(...fields.map((field) => describeMember(module, field)));
  } else if (declaration.type === 'FunctionDeclaration')
    fence(code(module, { start: declaration.start, end: declaration['body'].start as number }).trim());
  else fence(code(module, declaration));
  return parts.filter(Boolean).join('\n\n');
}

async function write(): Promise<string> {
  const index = await read('index.ts');
  const own = index.body
    .filter((each) => each['declaration']?.id)
    .map((each) => each['declaration'].id.name as string);
  const modules = new Map<string, Module>([['index.ts', index]]);
  const entries = own.map((name) => ({ file: 'index.ts', name }));
  for (const each of index.body.filter(
    ({ type, source: from }) => type === 'ExportNamedDeclaration' && from,
  )) {
    const file = (each['source'].value as string).slice(2);
    modules.set(file, await read(file));
    entries.push(
      ...(each['specifiers'] as Node[]).map(({ exported }) => ({ file, name: exported.name as string })),
    );
  }
  const sections = entries.map(({ file, name }) => {
    const section = describe(modules.get(file)!, name);
    if (section === undefined) throw new Error(`${name} isn't declared in ${file}`);
    return section;
  });
  const [{ text: guide = '' } = {}] = index.docs.filter(({ text }) => text.includes('@packageDocumentation'));
  const intro = guide.replace('@packageDocumentation', '').trim();
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
