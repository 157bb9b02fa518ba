// The stage: both phones, the backend between them, and all that can be done there, by its buttons or by the tour.

import type { Backend, User } from './backend.ts';
import { showUse, showUsers } from './backend_view.ts';
import { attempt, find, findA, onSubmit, setText, valueOf } from './elements.ts';
import type { Phone } from './phone.ts';
import { showPhone } from './phone_view.ts';
import { tellStory } from './story.ts';
import { createTalk } from './talk.ts';
import { startTour } from './tour.ts';

const FAULT = '#act-fault';

export function openStage(url: string, backend: Backend): void {
  const talkButton = find('#talk');
  const select = findA(HTMLSelectElement, '#user');
  const onLogIn = (phone: Phone, name: string): void => attempt(FAULT, () => logIn(phone, name));
  const a = showPhone({ url, backend, onLogIn, place: '#phone-a', scheme: 'composed', name: 'alice' });
  const b = showPhone({ url, backend, onLogIn, place: '#phone-b', scheme: 'registered', name: 'bob' });
  const phones = [a, b];
  const talk = createTalk({ a, b }, (isTalking) => {
    talkButton.setAttribute('aria-pressed', String(isTalking));
    setText(talkButton, isTalking ? 'Let them pause' : 'Let them talk');
  });

  async function refresh(): Promise<void> {
    showUsers(backend.users, backend.imIdOf);
    showChoice();
    showUse(await backend.countUse());
  }

  /** A customer's server tells its programs when somebody's ids have changed, so that they ask anew who is who. */
  async function tell(text: string): Promise<void> {
    await Promise.all(phones.map((phone) => phone.load()));
    await backend.announce(text);
    await refresh();
  }

  async function logIn(phone: Phone, name: string): Promise<void> {
    const user = backend.meet(name);
    if (phone.scheme === 'registered' && user.imId === undefined) await backend.register(user);
    await phone.logIn(user);
    if (backend.users.length > 1) await backend.shareContacts();
    await Promise.all(phones.map((each) => each.load()));
    await refresh();
  }

  async function adopt(user: User): Promise<void> {
    await backend.register(user);
    await tell(`${user.displayName} has an imId now`);
  }

  /** The former name is free, and would mean a new user to a phone that doesn't know yet: until it does, it waits. */
  async function rename(user: User, name: string): Promise<void> {
    const renaming = backend.rename(user, name).then(() => tell(`${user.displayName} has a new name`));
    for (const phone of phones) phone.holdUntil(renaming);
    await renaming;
  }

  const findChosen = (): User | undefined =>
    backend.users.find(({ number }) => String(number) === select.value);

  function chosen(): User {
    const user = findChosen();
    if (!user) throw new Error('There are no users yet.');
    return user;
  }

  function showChoice(): void {
    findA(HTMLButtonElement, '#adopt').disabled = findChosen()?.imId !== undefined;
  }

  onSubmit('#register', FAULT, async (form) => {
    await backend.register(backend.meet(valueOf(form, 'name')));
    form.reset();
    await backend.shareContacts();
    await tell('There is somebody new');
  });
  onSubmit('#rename', FAULT, async (form) => {
    await rename(chosen(), valueOf(form, 'name'));
    form.reset();
  });
  select.addEventListener('change', showChoice);
  find('#adopt').addEventListener('click', () => attempt(FAULT, () => adopt(chosen())));
  find('#issue').addEventListener('click', () =>
    attempt(FAULT, async () => {
      const user = chosen();
      await backend.issueToken(user, user.imId === undefined ? 'composed' : 'registered');
    }),
  );
  talkButton.addEventListener('click', () => (talk.isTalking ? talk.stop() : talk.start()));

  startTour(tellStory({ appId: backend.appId, a, b, talk, logIn, adopt, rename }));
  attempt(FAULT, refresh);
}
