// Streams of CSV (text/csv, RFC 4180): in constant memory, whatever their length. csv-parse takes the records apart.
// It is given whole records, not the stream: there it would lose what stands behind a broken quote, and read bytes that
// are not UTF-8 as U+FFFD.

import { parse } from 'csv-parse/sync';
import { LINE_MAX_BYTES, readTextLines, type Line, type TextLine } from './lines.ts';
import { invalid } from './validation.ts';

/** What a header may name, in any order. */
export interface Columns {
  required: readonly string[];
  optional?: readonly string[];
}

/**
 * Reads records as objects of their cells by column, an empty optional cell being absent; an empty list first, once the
 * header, which is line 1, is good. Blank lines count and are passed over. No cell may hold a line break; where a quote
 * is never closed, or stays open for longer than a line may be, that is the fault of its line and the next is read anew.
 * Throws `invalid_request` for a header that isn't of `columns`.
 */
export async function* readCsv(chunks: AsyncIterable<Buffer>, columns: Columns): AsyncGenerator<Line[]> {
  let header: string[] | undefined;
  let rest: TextLine[] = [];
  for await (const lines of readTextLines(chunks)) {
    if (!header) {
      header = readHeader(lines.shift(), columns);
      yield [];
    }
    const found = findRecords([...rest, ...lines], false);
    rest = found.rest;
    if (found.records.length > 0) yield toValues(found.records, header, columns);
  }
  if (!header) readHeader(undefined, columns);
  else if (rest.length > 0) yield toValues(findRecords(rest, true).records, header, columns);
}

function readHeader(line: TextLine | undefined, { required, optional = [] }: Columns): string[] {
  const text = line && 'text' in line ? line.text.replace(/^\uFEFF/, '') : '';
  const header = parseRecords([text])?.[0] ?? [];
  const isGood =
    required.every((column) => header.includes(column)) &&
    header.every((column) => required.includes(column) || optional.includes(column)) &&
    new Set(header).size === header.length;
  if (isGood) return header;
  const wanted = `${required.join(', ')}${optional.length > 0 ? ` and at most ${optional.join(', ')}` : ''}`;
  throw invalid([
    {
      in: 'body',
      pointer: '#/header',
      detail: `must be a line that names the columns ${wanted}, with commas`,
    },
  ]);
}

/** Puts lines together to records, each with the number of its first line. `rest` is what a quote still holds open. */
function findRecords(lines: readonly TextLine[], isEnd: boolean): { records: TextLine[]; rest: TextLine[] } {
  const records: TextLine[] = [];
  for (let i = 0; i < lines.length; i++) {
    const first = lines[i]!;
    if ('fault' in first || !opensQuote(first.text)) {
      records.push(first);
      continue;
    }
    const closing = findClosing(lines, i);
    if (closing === undefined && !isEnd) return { records, rest: lines.slice(i) };
    const last = lines[closing ?? -1];
    if (!last) records.push({ line: first.line, fault: 'opens a quote that is never closed' });
    else if (!parseRecords([textOf(lines.slice(i, closing! + 1))])) {
      records.push({ line: first.line, fault: QUOTES });
    } else {
      records.push({ line: first.line, fault: `holds a cell that goes on to line ${last.line}` });
      i = closing!;
    }
  }
  return { records, rest: [] };
}

const QUOTES = 'has a quote out of place';

/** Where the quote is closed that is open at the end of line `from`: -1 for never, undefined when that isn't known yet. */
function findClosing(lines: readonly TextLine[], from: number): number | undefined {
  let bytes = 0;
  for (let i = from; i < lines.length; i++) {
    const line = lines[i]!;
    if ('fault' in line) return -1;
    bytes += Buffer.byteLength(line.text) + 1;
    if (bytes > LINE_MAX_BYTES) return -1;
    if (i > from && opensQuote(line.text)) return i;
  }
  return undefined;
}

/** Whether a quote that was closed before is open behind this text, or one that was open is closed. */
function opensQuote(text: string): boolean {
  return text.includes('"') && text.split('"').length % 2 === 0;
}

function textOf(lines: readonly TextLine[]): string {
  return lines.map((line) => ('text' in line ? line.text : '')).join('\n');
}

function toValues(records: readonly TextLine[], header: readonly string[], columns: Columns): Line[] {
  const filled = records.filter((record) => 'fault' in record || record.text !== '');
  const texts = filled.flatMap((record) => ('text' in record ? [record.text] : []));
  // One at a time where one is bad, to know which.
  const parsed = parseRecords(texts) ?? texts.map((text) => parseRecords([text])?.[0]);
  let next = 0;
  return filled.map((record) =>
    'fault' in record ? record : toValue(record.line, parsed[next++], header, columns),
  );
}

function toValue(
  line: number,
  cells: readonly string[] | undefined,
  header: readonly string[],
  { required }: Columns,
): Line {
  if (!cells) return { line, fault: QUOTES };
  if (cells.length !== header.length)
    return { line, fault: `has ${cells.length} cells, and the header has ${header.length}` };
  const value: Record<string, string> = {};
  for (const [i, column] of header.entries())
    if (cells[i] !== '' || required.includes(column)) value[column] = cells[i]!;
  return { line, value };
}

/** Takes records apart, none of them empty; undefined when one has a quote out of place. */
function parseRecords(records: readonly string[]): string[][] | undefined {
  if (!records.some((record) => record.includes('"'))) return records.map((record) => record.split(','));
  try {
    return parse(records.join('\n'), { record_delimiter: '\n', relax_column_count: true });
  } catch {
    return undefined;
  }
}

/** Cells as one record with its end. */
export function toRecord(cells: readonly string[]): string {
  return `${cells.map((cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(',')}\n`;
}
