// The result of `npm run bench -- identity`: what stands beside what, as a table and as a chart.

import { isReached, toFigure, type Row, type Unit } from '../results.ts';
import { bar, ceiling, line, svg, text } from './svg.ts';

export function toIdentityTable(rows: readonly Row[]): string {
  return [
    '| what | imid | beside | figure | lowest to highest round | by CPU time | target | reached |',
    '|---|---|---|---|---|---|---|---|',
    ...rows.map((row) => {
      const range = row.range?.map((value) => show(row.unit, value)).join(' to ') ?? '';
      const cpu = row.cpu === undefined ? '' : show(row.unit, row.cpu);
      return `| ${row.what} | ${row.ours} | ${row.beside} | **${show(row.unit, row.figure)}** | ${range} | ${cpu} | ${showTarget(row)} | ${isReached(row) ? 'yes' : 'no'} |`;
    }),
    '',
    '“figure” is the ratio of the medians of rounds taken in turn; “by CPU time” the same, by what the service and Postgres',
    'used instead of how long it took, which other work on the machine disturbs less.',
  ].join('\n');
}

/** The headline for the README. */
export function toIdentityHeadline(rows: readonly Row[]): string {
  return [
    '| what | beside | figure | target |',
    '|---|---|---|---|',
    ...rows.map(
      (row) =>
        `| ${row.what} | ${row.beside.replace(/^[\d.,]+\/s: /, '')} | ${show(row.unit, row.figure)} | ${showTarget(row)}${isReached(row) ? '' : ', missed'} |`,
    ),
  ].join('\n');
}

function show(unit: Unit, value: number): string {
  if (unit === 'MiB') return `${toFigure(value)} MiB`;
  return unit === 'times' ? `${value.toFixed(2)} times` : `${Math.round(value * 100)}%`;
}

function showTarget({ unit, target }: Row): string {
  return `${unit === 'ofBeside' ? 'at least' : 'at most'} ${show(unit, target)}`;
}

const panels: { unit: Unit; title: string }[] = [
  { unit: 'ofBeside', title: 'Done per second, as a part of what stands beside it (more is better)' },
  {
    unit: 'times',
    title: 'Cost at ten million rows, as a multiple of the cost at ten thousand (less is better)',
  },
  { unit: 'MiB', title: 'Memory of a long import above that of a short one, in MiB (less is better)' },
];

const WIDTH = 880;
const LEFT = 350;
const RIGHT = WIDTH - 70;
const BAR = 18;
const STEP = 30;

export function toIdentityChart(rows: readonly Row[]): string {
  const shapes: string[] = [];
  let y = 10;
  for (const { unit, title } of panels) {
    const own = rows.filter((row) => row.unit === unit);
    if (own.length > 0) y = drawPanel(shapes, y, title, own);
  }
  return svg({ width: WIDTH, height: y }, 'imid beside the bare tools it is made of', shapes);
}

function drawPanel(shapes: string[], top: number, title: string, rows: readonly Row[]): number {
  const { unit } = rows[0]!;
  const most = ceiling(Math.max(...rows.flatMap((row) => [row.figure, row.target])) * 1.02);
  const toX = (value: number): number => LEFT + ((RIGHT - LEFT) * value) / most;
  const first = top + 36;
  const bottom = first + rows.length * STEP;
  shapes.push(text({ x: 10, y: top + 14, style: 'title' }, title));
  for (let i = 0; i <= 4; i++) {
    const value = (most * i) / 4;
    shapes.push(line(toX(value), first - 6, toX(value), bottom, i === 0 ? 'axis' : 'grid'));
    shapes.push(text({ x: toX(value), y: bottom + 14, anchor: 'middle', style: 'quiet' }, show(unit, value)));
  }
  rows.forEach((row, i) => {
    const y = first + i * STEP;
    const style = isReached(row) ? 'reached' : 'missed';
    shapes.push(text({ x: LEFT - 8, y: y + 13, anchor: 'end' }, row.what));
    const width = Math.max(1, toX(row.figure) - LEFT);
    shapes.push(bar({ x: LEFT, y, width, height: BAR }, style, `${row.ours}; ${row.beside}`));
    shapes.push(line(toX(row.target), y - 4, toX(row.target), y + BAR + 4, 'target'));
    const end = Math.max(toX(row.figure), toX(row.target));
    shapes.push(text({ x: end + 6, y: y + 13 }, show(unit, row.figure)));
  });
  shapes.push(
    text({ x: RIGHT, y: top + 14, anchor: 'end', style: 'quiet' }, `thick line: target; green: reached`),
  );
  return bottom + 30;
}
