// The streams that requests carry, as the records they are made of: JSON lines, and CSV with a header.

type Records = Record<string, unknown>[];

interface Format {
  read(text: string): Records;
  write(records: Records): string;
}

const formats: Record<string, Format> = {
  'application/x-ndjson': {
    read: (text) =>
      text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Records[number]),
    write: (records) => records.map((record) => `${JSON.stringify(record)}\n`).join(''),
  },
  'text/csv': {
    read(text) {
      const [names = [], ...rows] = text.trim().split(/\r?\n/).map(readRow);
      return rows.map((row) => Object.fromEntries(names.map((name, i) => [name, row[i] ?? ''])));
    },
    write(records) {
      const names = [...new Set(records.flatMap((record) => Object.keys(record)))];
      const rows = [names, ...records.map((record) => names.map((name) => record[name] ?? ''))];
      return rows.map((row) => `${row.map(quote).join(',')}\n`).join('');
    },
  },
};

export function formatOf(contentType: string): Format {
  const format = formats[contentType];
  if (!format) throw new Error(`requests of ${contentType} can't be made: add how they are read and written`);
  return format;
}

function readRow(line: string): string[] {
  return Array.from(line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g), ([, quoted, plain]) =>
    quoted === undefined ? (plain ?? '') : quoted.replaceAll('""', '"'),
  );
}

function quote(value: unknown): string {
  return `"${String(value).replaceAll('"', '""')}"`;
}
