// The result of `npm run bench -- schemes`: the two schemes, and an app with both, as a table and as a chart.

import type { Schemes } from '../schemes/compare.ts';
import { describeValue, metrics, type Metric, type Point } from '../schemes/points.ts';
import { kinds, type Kind } from '../schemes/stage.ts';
import { toFigure } from '../results.ts';
import type { Result } from './files.ts';
import { bar, line, svg, text, ticksUpTo } from './svg.ts';

const titles: Record<Kind, string> = {
  composed: 'composed',
  registered: 'registered',
  both: 'both enabled, by uid',
};

export function toSchemesResult(schemes: Schemes): Result {
  return {
    name: 'schemes',
    title: 'The two schemes side by side',
    table: `${toTable(schemes)}\n\n${NOTE}`,
    headline: toHeadline(schemes),
    chart: toChart(schemes),
    alt: 'what users cost in each scheme: bringing them in, storing, resolving and sending',
  };
}

const NOTE =
  'Times are medians, one call after another, taken in turn: compare them along a row, not with other machines. “Cold” is ' +
  'the first time since the service was started, in a process that has answered for others; “warm” right after that. ' +
  'Messages are sent one to one over the socket, in turn; the CPU time is that of the service and Postgres. “On the wire” ' +
  'is one message with its WebSocket header, with the same content. A single user is charged with all of the pages that ' +
  'its table and indexes begin with.';

function toTable({ points, typo }: Schemes): string {
  const metricOrder = Object.keys(metrics) as Metric[];
  const ordered = points.toSorted((a, b) => metricOrder.indexOf(a.metric) - metricOrder.indexOf(b.metric));
  return [
    `| what | users | ${kinds.map((kind) => titles[kind]).join(' | ')} |`,
    `|---|---|${kinds.map(() => '---|').join('')}`,
    ...ordered.map((point) => {
      const users = point.users === undefined ? 'any' : point.users.toLocaleString('en-GB');
      const cells = kinds.map((kind) => describeValue(point, kind));
      return `| ${metrics[point.metric].title} | ${users} | ${cells.join(' | ')} |`;
    }),
    `| A typo in the address | any | ${kinds.map((kind) => typo[kind]).join(' | ')} |`,
  ].join('\n');
}

/** The headline for the README: where there are most users. */
function toHeadline({ points, typo }: Schemes): string {
  const most = Math.max(...points.map(({ users }) => users ?? 0));
  const shown = points.filter(({ users }) => users === undefined || users === most);
  return toTable({ points: shown, typo });
}

interface Panel {
  title: string;
  bars: Metric[];
}

const panels: Panel[] = [
  { title: 'Bringing one user in, ms', bars: ['register'] },
  { title: 'Bringing all in, s', bars: ['import'] },
  { title: 'Stored per user, bytes', bars: ['idle', 'inbox'] },
  { title: 'Customer keeps, bytes', bars: ['customer'] },
  { title: 'Resolve cold, ms', bars: ['cold'] },
  { title: 'Resolve warm, ms', bars: ['warm'] },
  { title: 'Message on the wire, bytes', bars: ['sendFrame', 'messageFrame'] },
  { title: '10,000 messages, CPU s', bars: ['cpu'] },
];

const WIDTH = 880;
const COLUMNS = 4;
const [PANEL_WIDTH, PANEL_HEIGHT] = [WIDTH / COLUMNS, 200];
const TOP = 30;
const styles: Record<Kind, string> = { composed: 'first', registered: 'second', both: 'third' };

function toChart({ points }: Schemes): string {
  const shapes = kinds.flatMap((kind, i) => [
    bar({ x: 16 + i * 130, y: 10, width: 12, height: 12 }, styles[kind], titles[kind]),
    text({ x: 34 + i * 130, y: 20 }, titles[kind]),
  ]);
  panels.forEach((panel, i) => {
    const at = { x: (i % COLUMNS) * PANEL_WIDTH, y: TOP + Math.floor(i / COLUMNS) * PANEL_HEIGHT };
    shapes.push(...drawPanel(panel, at, points));
  });
  const height = TOP + Math.ceil(panels.length / COLUMNS) * PANEL_HEIGHT;
  return svg({ width: WIDTH, height }, 'The two schemes side by side', shapes);
}

function drawPanel({ title, bars }: Panel, at: { x: number; y: number }, all: readonly Point[]): string[] {
  const groups = toGroups(bars, all);
  const [left, right] = [at.x + 44, at.x + PANEL_WIDTH - 8];
  const [top, bottom] = [at.y + 34, at.y + PANEL_HEIGHT - 34];
  const ticks = ticksUpTo(Math.max(0, ...groups.flatMap(({ point }) => Object.values(point.values))));
  const most = ticks.at(-1)!;
  const toY = (value: number): number => bottom - ((bottom - top) * value) / most;
  const shapes = [text({ x: at.x + 16, y: at.y + 16, style: 'title' }, title)];
  for (const value of ticks) {
    shapes.push(line(left, toY(value), right, toY(value), value === 0 ? 'axis' : 'grid'));
    shapes.push(text({ x: left - 4, y: toY(value) + 4, anchor: 'end', style: 'quiet' }, shorten(value)));
  }
  const groupWidth = (right - left) / groups.length;
  groups.forEach(({ label, point }, g) => {
    const start = left + g * groupWidth;
    shapes.push(text({ x: start + groupWidth / 2, y: bottom + 16, anchor: 'middle', style: 'quiet' }, label));
    const barWidth = (groupWidth - 10) / kinds.length;
    kinds.forEach((kind, k) => {
      const value = point.values[kind];
      if (value === undefined) return;
      const x = start + 5 + k * barWidth;
      const hint = `${titles[kind]}: ${describeValue(point, kind)}`;
      shapes.push(
        bar({ x, y: toY(value), width: barWidth - 2, height: bottom - toY(value) }, styles[kind], hint),
      );
      if (value === 0)
        shapes.push(text({ x: x + barWidth / 2 - 1, y: bottom - 3, anchor: 'middle', style: 'quiet' }, '0'));
    });
  });
  return shapes;
}

/** A group of bars for each number of users; where there are two metrics, for each of them at the most users. */
function toGroups(bars: readonly Metric[], all: readonly Point[]): { label: string; point: Point }[] {
  if (bars.length === 1)
    return all
      .filter(({ metric }) => metric === bars[0])
      .map((point) => ({ label: toUsers(point.users ?? 0), point }));
  const labels: Partial<Record<Metric, string>> = {
    idle: 'no inbox',
    inbox: 'with inbox',
    sendFrame: 'send',
    messageFrame: 'message',
  };
  return bars.map((metric) => ({
    label: labels[metric] ?? '',
    point: all.findLast((point) => point.metric === metric)!,
  }));
}

function toUsers(users: number): string {
  return users === 1 ? '1 user' : shorten(users);
}

function shorten(value: number): string {
  if (value >= 1_000_000) return `${toFigure(value / 1_000_000)}M`;
  return value >= 1_000 ? `${toFigure(value / 1_000)}k` : toFigure(value);
}
