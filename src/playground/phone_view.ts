// A phone as the page shows it. Shows what the phone has, and passes on what is pressed.

import type { Backend } from './backend.ts';
import { addressText } from './chats.ts';
import { fill, find, findA, make, setText, valueOf } from './elements.ts';
import { createFrameLog } from './frame_log.ts';
import { createPhone, type Phone } from './phone.ts';

/** All that differs between the phones. */
const KINDS = {
  composed: {
    title: 'Phone A · composed',
    hint: 'Names people by uid. All it needs is a token.',
    id: 'uid',
    toParty: (uid: string) => ({ uid }),
  },
  registered: {
    title: 'Phone B · registered',
    hint: 'Names people by imId. It is shown no userId.',
    id: 'userId',
    toParty: (imId: string) => ({ imId }),
  },
} as const;

export interface PhoneViewOptions {
  /** Selects where it goes. */
  place: string;
  url: string;
  scheme: keyof typeof KINDS;
  name: string;
  backend: Backend;
  /** Somebody wants to log in as this name. */
  onLogIn: (phone: Phone, name: string) => void;
}

export function showPhone({ place, url, scheme, name, backend, onLogIn }: PhoneViewOptions): Phone {
  const kind = KINDS[scheme];
  const view = findA(HTMLTemplateElement, '#phone').content.cloneNode(true) as DocumentFragment;
  const article = find('.phone', view);
  find(place).append(view);
  const at = (selector: string): HTMLElement => find(selector, article);
  const formAt = (selector: string): HTMLFormElement => findA(HTMLFormElement, selector, article);
  article.classList.add(scheme);
  article.setAttribute('aria-label', kind.title);
  at('h2').textContent = kind.title;
  at('.hint').textContent = kind.hint;
  at('.kind').textContent = kind.id;
  at('.other span').textContent = scheme === 'composed' ? 'any uid' : 'any imId';
  const who = findA(HTMLInputElement, '.who input', article);
  who.value = name;
  let shownName = name;

  const frames = createFrameLog(at('.frames'), at('.pause'));
  const phone = createPhone({
    url,
    scheme,
    backend,
    onPassed: frames.add,
    onChange: () => show(),
  });

  formAt('.who').addEventListener('submit', (event) => {
    event.preventDefault();
    onLogIn(phone, valueOf(formAt('.who'), 'name'));
  });
  formAt('.other').addEventListener('submit', (event) => {
    event.preventDefault();
    const other = valueOf(formAt('.other'), 'other');
    if (other && phone.me) phone.chatWith(kind.toParty(other));
    formAt('.other').reset();
  });
  formAt('.composer').addEventListener('submit', (event) => {
    event.preventDefault();
    const text = valueOf(formAt('.composer'), 'text');
    if (text) void phone.say(text);
    formAt('.composer').reset();
  });
  at('.composer input').addEventListener('input', phone.type);
  at('.switch').addEventListener('click', () => phone.setForeground(!phone.isForeground));

  function show(): void {
    const { state, user, me, claims, isForeground, unread, selected } = phone;
    article.dataset['state'] = state;
    setText(at('.state'), state === 'open' ? 'connected' : user ? state : 'logged out');
    setText(at('.me'), me ? addressText(me) : '');
    if (user && user.name !== shownName) who.value = shownName = user.name;
    at('.switch').setAttribute('aria-checked', String(isForeground));
    const isBack = isForeground && !at('.home').hidden;
    at('.screen').hidden = !isForeground;
    at('.home').hidden = isForeground;
    at('.home .badge').hidden = unread === 0;
    setText(at('.home .badge'), String(unread));
    setText(
      at('.typing'),
      phone.fault || (phone.isPeerTyping ? `${selected!.displayName || 'Somebody'} is typing …` : ''),
    );
    at('.typing').classList.toggle('fault', phone.fault !== '');
    at('.composer').toggleAttribute('inert', !selected);
    if (claims)
      fill(at('.claims'), claimsShown(claims), {
        key: ([claim]) => claim,
        make: ([claim]) => make('div', '', make('dt', '', claim), make('dd')),
        show: (row, [, value]) => setText(row.lastElementChild!, value),
      });
    showContacts();
    showChat(isBack);
  }

  function showContacts(): void {
    fill(at('.contacts'), phone.peers(), {
      key: ({ key }) => key,
      make({ key }) {
        const button = make(
          'button',
          '',
          make('span', 'dot'),
          make('span', 'name'),
          make('code'),
          make('span', 'badge'),
        );
        button.type = 'button';
        button.addEventListener('click', () => phone.select(key));
        return make('li', '', button);
      },
      show(row, { key, party, displayName, isOnline, unread }) {
        const button = find('button', row);
        const address = addressText(party);
        button.setAttribute('aria-pressed', String(key === phone.selected?.key));
        button.title = `${address}, ${isOnline ? 'online' : 'offline'}`;
        find('.dot', row).classList.toggle('online', isOnline);
        setText(find('.name', row), displayName);
        setText(
          find('code', row),
          address.length > 14 ? `${address.slice(0, 6)}…${address.slice(-4)}` : address,
        );
        find('.badge', row).hidden = unread === 0;
        setText(find('.badge', row), String(unread));
      },
    });
  }

  function showChat(isBack: boolean): void {
    const chat = at('.chat');
    const isAtEnd = isBack || chat.scrollHeight - chat.scrollTop - chat.clientHeight < 40;
    fill(chat, phone.bubbles(), {
      key: ({ id }) => id,
      make: ({ text, peer, isMine }) =>
        make(
          'li',
          peer === undefined ? 'app' : isMine ? 'mine' : 'theirs',
          make('span', '', text),
          make('small'),
        ),
      show: (row, { seq, isMine, isRead }) =>
        setText(
          row.lastElementChild!,
          seq === Infinity ? '…' : `#${seq}${isMine ? (isRead ? ' ✓✓' : ' ✓') : ''}`,
        ),
    });
    if (isAtEnd) chat.scrollTop = chat.scrollHeight;
  }

  show();
  return phone;
}

function claimsShown({ scheme, sub, exp }: { scheme: string; sub: string; exp: number }): [string, string][] {
  const until = new Date(exp * 1000).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  return [
    ['scheme', scheme],
    ['sub', sub],
    ['exp', until],
  ];
}
