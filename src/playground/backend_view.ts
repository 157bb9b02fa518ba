// The backend as the page shows it: what is stored, what it can do, and the calls that it makes.

import type { Call, Scheme, Use, User } from './backend.ts';
import { fill, find, findA, make, setText } from './elements.ts';

const CALLS_KEPT = 60;

export function showCall({ request, body, status, answer }: Call): void {
  const list = find('#calls');
  const head = make('span', '', `${request} `, make('b', status < 300 ? 'good' : 'bad', String(status)));
  list.prepend(
    make(
      'li',
      '',
      head,
      ...[body && make('code', '', `→ ${body}`), answer && make('code', '', `← ${answer}`)].filter(
        (each) => each !== '',
      ),
    ),
  );
  list.children[CALLS_KEPT]?.remove();
}

export function showUsers(users: readonly User[], imIdOf: (user: User) => string): void {
  for (const scheme of ['composed', 'registered'] as const)
    fill(
      find(`#${scheme}-rows`),
      users.filter(({ imId }) => (imId === undefined) === (scheme === 'composed')),
      {
        key: ({ number }) => String(number),
        make: () => make('tr', '', make('th'), make('td', '', make('code'))),
        show(row, user) {
          find('th', row).setAttribute('scope', 'row');
          setText(find('th', row), user.name);
          setText(find('code', row), imIdOf(user));
        },
      },
    );
  const select = findA(HTMLSelectElement, '#user');
  const chosen = select.value;
  fill(select, users, {
    key: ({ number }) => String(number),
    make({ number }) {
      const option = make('option');
      option.value = String(number);
      return option;
    },
    show: (option, { name }) => setText(option, name),
  });
  if (chosen) select.value = chosen;
}

export function showUse(use: Record<Scheme, Use>): void {
  for (const scheme of ['composed', 'registered'] as const) {
    const { users } = use[scheme];
    setText(find(`table.${scheme} .rows`), users === 1 ? '1 row' : `${users} rows`);
  }
}
