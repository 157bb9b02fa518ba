// Charts as SVG text: the few shapes they are made of, in colours that can be read on light and on dark pages.

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; font-size: 13px; }
  .quiet { fill: #59636e; font-size: 11px; }
  .axis { stroke: #818b98; }
  .grid { stroke: #d1d9e0; }
  .target { stroke: #1f2328; stroke-width: 2; }
  .first { fill: #0969da; } .second { fill: #bf8700; } .third { fill: #1a7f37; }
  .reached { fill: #1a7f37; } .missed { fill: #bc4c00; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .quiet { fill: #9198a1; }
    .grid { stroke: #3d444d; }
    .target { stroke: #f0f6fc; }
    .first { fill: #4493f8; } .second { fill: #d29922; } .third { fill: #3fb950; }
    .reached { fill: #3fb950; } .missed { fill: #db6d28; }
  }`;

export function svg(
  size: { width: number; height: number },
  label: string,
  shapes: readonly string[],
): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${size.height}" width="${size.width}" height="${size.height}" role="img" aria-label="${escape(label)}">`,
    `<style>${STYLE}\n</style>`,
    ...shapes,
    '</svg>\n',
  ].join('\n');
}

export function text(
  at: { x: number; y: number; anchor?: 'start' | 'middle' | 'end'; style?: string },
  content: string,
): string {
  const { x, y, anchor = 'start', style } = at;
  return `<text x="${fix(x)}" y="${fix(y)}" text-anchor="${anchor}"${style ? ` class="${style}"` : ''}>${escape(content)}</text>`;
}

export function bar(
  at: { x: number; y: number; width: number; height: number },
  style: string,
  hint: string,
): string {
  return (
    `<rect x="${fix(at.x)}" y="${fix(at.y)}" width="${fix(at.width)}" height="${fix(at.height)}" rx="1" class="${style}">` +
    `<title>${escape(hint)}</title></rect>`
  );
}

export function line(x1: number, y1: number, x2: number, y2: number, style: string): string {
  return `<line x1="${fix(x1)}" y1="${fix(y1)}" x2="${fix(x2)}" y2="${fix(y2)}" class="${style}"/>`;
}

/** Where the grid lines of an axis stand that shows values from 0 up to this one: at round numbers, the last above it. */
export function ticksUpTo(value: number): number[] {
  const rough = (value || 1) / MAX_STEPS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((round) => round * power >= rough)! * power;
  return Array.from({ length: Math.ceil((value || 1) / step) + 1 }, (_, i) =>
    Number((i * step).toPrecision(6)),
  );
}

const MAX_STEPS = 4;

function fix(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escape(content: string): string {
  return content.replaceAll('`', '').replace(/[<>&"]/g, (char) => `&#${char.charCodeAt(0)};`);
}
