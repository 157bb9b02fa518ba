// The frames of a phone as they pass, newest first, until it is paused.

import { make } from './elements.ts';
import type { Passed } from './sockets.ts';

const KEPT = 80;
const ARROWS = { in: '↓', out: '↑', note: '·' };
const WAYS = { in: 'received', out: 'sent', note: 'connection' };

export function createFrameLog(list: HTMLElement, pause: HTMLElement) {
  let held: Passed[] | undefined;

  function show({ way, text }: Passed): void {
    const arrow = make('span', 'way', ARROWS[way]);
    arrow.title = WAYS[way];
    list.prepend(make('li', way, arrow, make('code', '', ...markType(text))));
    list.children[KEPT]?.remove();
  }

  pause.addEventListener('click', () => {
    held?.forEach(show);
    held = held ? undefined : [];
    pause.setAttribute('aria-pressed', String(held !== undefined));
    pause.textContent = held ? 'Go on' : 'Pause';
  });

  return {
    add(passed: Passed): void {
      if (!held) return show(passed);
      held.push(passed);
      pause.textContent = `Go on (${held.length} new)`;
    },
  };
}

function markType(text: string): (Node | string)[] {
  const [, before, type, after] = /^(\{"type":)("\w+")(.*)$/s.exec(text) ?? [];
  return type === undefined ? [text] : [before!, make('b', '', type), after!];
}
