// The result of a suite that puts one thing beside another: rows as a table and as a chart.

import { isReached, toFigure, type Row, type Unit } from '../results.ts';
import { bar, line, svg, text, ticksUpTo } from './svg.ts';

/** The table, and below it what is to be known to read it. */
export function toRowTable(
  rows: readonly Row[],
  note = '',
  whoseCpu = 'the service and Postgres used',
): string {
  return [
    '| what | imid | beside | figure | rounds | by CPU time | target | reached |',
    '|---|---|---|---|---|---|---|---|',
    ...rows.map((row) => {
      const cpu = row.cpu === undefined ? '' : show(row.unit, row.cpu);
      const cells = [row.what, row.ours, `${row.theirs}: ${row.beside}`, `**${show(row.unit, row.figure)}**`];
      return toLine([...cells, showRounds(row), cpu, showTarget(row), isReached(row) ? 'yes' : 'no']);
    }),
    '',
    '“figure” is the ratio of the medians of rounds taken in turn, “rounds” how many there were, with the lowest and the',
    `highest; “by CPU time” is the same by what ${whoseCpu} instead of how long it took, which other work`,
    'on the machine disturbs less.',
    ...(note === '' ? [] : ['', note]),
  ].join('\n');
}

/** The headline for the README. */
export function toRowHeadline(rows: readonly Row[]): string {
  return [
    '| what | beside | figure | target |',
    '|---|---|---|---|',
    ...rows.map((row) =>
      toLine([
        row.what,
        row.beside,
        show(row.unit, row.figure),
        `${showTarget(row)}${isReached(row) ? '' : ', missed'}`,
      ]),
    ),
  ].join('\n');
}

function toLine(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}

function showRounds({ unit, rounds }: Row): string {
  if (rounds.length === 0) return '1';
  return `${rounds.length}: ${show(unit, Math.min(...rounds))} to ${show(unit, Math.max(...rounds))}`;
}

function show(unit: Unit, value: number): string {
  if (unit === 'MiB' || unit === 'KiB' || unit === 'µs') return `${toFigure(value)} ${unit}`;
  return unit === 'times' ? `${value.toFixed(2)} times` : `${Math.round(value * 100)}%`;
}

function showTarget({ unit, target }: Row): string {
  return `${unit === 'ofBeside' ? 'at least' : 'at most'} ${show(unit, target)}`;
}

/** What is drawn over the bars of each unit. */
export type PanelTitles = Partial<Record<Unit, string>>;

const WIDTH = 880;
const LEFT = 350;
const RIGHT = WIDTH - 70;
const BAR = 18;
const STEP = 30;

export function toRowChart(rows: readonly Row[], label: string, titles: PanelTitles): string {
  const shapes: string[] = [];
  let y = 10;
  for (const [unit, title] of Object.entries(titles)) {
    const own = rows.filter((row) => row.unit === unit);
    if (own.length > 0) y = drawPanel(shapes, y, title, own);
  }
  return svg({ width: WIDTH, height: y }, label, shapes);
}

function drawPanel(shapes: string[], top: number, title: string, rows: readonly Row[]): number {
  const { unit } = rows[0]!;
  const ticks = ticksUpTo(Math.max(...rows.flatMap((row) => [row.figure, row.target])));
  const most = ticks.at(-1)!;
  const toX = (value: number): number => LEFT + ((RIGHT - LEFT) * value) / most;
  const first = top + 36;
  const bottom = first + rows.length * STEP;
  shapes.push(text({ x: 10, y: top + 14, style: 'title' }, title));
  for (const tick of ticks) {
    shapes.push(line(toX(tick), first - 6, toX(tick), bottom, tick === 0 ? 'axis' : 'grid'));
    const label = unit === 'ofBeside' ? show(unit, tick) : toFigure(tick);
    shapes.push(text({ x: toX(tick), y: bottom + 14, anchor: 'middle', style: 'quiet' }, label));
  }
  rows.forEach((row, i) => {
    const y = first + i * STEP;
    const style = isReached(row) ? 'reached' : 'missed';
    shapes.push(text({ x: LEFT - 8, y: y + 13, anchor: 'end' }, row.what));
    const width = Math.max(1, toX(row.figure) - LEFT);
    shapes.push(bar({ x: LEFT, y, width, height: BAR }, style, `${row.ours}; ${row.theirs}: ${row.beside}`));
    shapes.push(line(toX(row.target), y - 4, toX(row.target), y + BAR + 4, 'target'));
    const end = Math.max(toX(row.figure), toX(row.target));
    shapes.push(text({ x: end + 6, y: y + 13 }, show(unit, row.figure)));
  });
  shapes.push(
    text({ x: RIGHT, y: top + 14, anchor: 'end', style: 'quiet' }, `thick line: target; green: reached`),
  );
  return bottom + 30;
}
