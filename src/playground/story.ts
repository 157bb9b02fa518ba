// What the tour shows: Alice and Bob, from their first token on.

import type { User } from './backend.ts';
import type { Phone } from './phone.ts';
import type { createTalk } from './talk.ts';
import type { Step } from './tour.ts';

export interface Cast {
  appId: string;
  a: Phone;
  b: Phone;
  talk: ReturnType<typeof createTalk>;
  logIn: (phone: Phone, name: string) => Promise<void>;
  adopt: (user: User) => Promise<void>;
  rename: (user: User, name: string) => Promise<void>;
}

export function tellStory({ appId, a, b, talk, logIn, adopt, rename }: Cast): Step[] {
  return [
    {
      title: 'Alice is composed',
      text: `Her imId is the app and her uid, ${appId}:alice. Nobody registers her: a token is all that she needs.`,
      button: 'Give Alice a token',
      look: '#phone-a',
      act: () => logIn(a, 'alice'),
    },
    {
      title: 'Bob is registered',
      text: 'The backend registers his userId, once, and gets an imId that is stored in a row.',
      button: 'Register Bob',
      look: '#phone-b',
      act: () => logIn(b, 'bob'),
    },
    {
      title: 'They talk with each other',
      text: 'Alice writes to {"uid": "bob"}, Bob to her imId. It is one conversation, and each sees only the own scheme.',
      button: 'Let them talk',
      look: '#phone-a',
      act: () => talk.start(),
    },
    {
      title: 'Alice is adopted while she talks',
      text: 'Her uid is registered and gets an imId: the same inbox, its numbers go on, and nobody is logged out.',
      button: 'Adopt Alice',
      look: '#phone-a',
      async act() {
        talk.start();
        await adopt(a.user!);
      },
    },
    {
      title: 'Alice is renamed while she talks',
      text: 'She is alicia from now on. Her old token still acts as her, and nothing changes for Bob’s phone.',
      button: 'Rename her to alicia',
      look: '#phone-a',
      async act() {
        talk.start();
        await rename(a.user!, 'alicia');
      },
    },
    {
      title: 'Bob puts his phone away',
      text: 'In the background it still gets everything, in order. It reads nothing: one tick, and a number on the icon.',
      button: 'Put phone B in the background',
      look: '#phone-b',
      act() {
        talk.start();
        b.setForeground(false);
      },
    },
    {
      title: 'And takes it out again',
      text: 'At once he has read what came meanwhile, and Alice sees the second tick.',
      button: 'Bring phone B back',
      look: '#phone-a',
      act() {
        talk.stop();
        b.setForeground(true);
      },
    },
  ];
}
