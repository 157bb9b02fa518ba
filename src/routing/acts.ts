// What clients ask for by frames beside sending: each finds whom it means, and is done once.

import { ImidError } from '../errors.ts';
import type { AppId } from '../ids.ts';
import type { App, Apps } from '../identity/apps.ts';
import type { Directory, Found, User } from '../identity/directory.ts';
import { nobody, requireScheme, type Address } from '../identity/schemes.ts';
import type { Recalled } from '../store/recalls.ts';
import type { Conversations } from './conversations.ts';
import type { ActFrame } from './frames.ts';
import type { Session } from './session.ts';

export interface ActsOptions {
  apps: Apps;
  directory: Directory;
  conversations: Conversations;
  typing: { type(from: { appId: AppId; id: number }, to: { appId: AppId; id: number }): Promise<void> };
  watching: { watch(session: Session, users: readonly Found[]): Promise<void> };
  recall: (app: App, session: Session, frame: ActFrame & { type: 'recall' }) => Promise<Recalled>;
  /** Moves the session to the user that its own was merged into, if it was. */
  follow: (session: Session) => Promise<User | undefined>;
}

/** A recall is given back, as it takes a seq; the others leave nothing to wait for. */
export function createActs(options: ActsOptions) {
  const { apps, directory, conversations, typing, watching, recall, follow } = options;

  /** One that was never used has nothing to be read, and nobody to see it. */
  async function find(app: App, address: Address): Promise<number | undefined> {
    return (await directory.find(app, address)).id;
  }

  async function read(app: App, session: Session, frame: ActFrame & { type: 'read' }): Promise<void> {
    const peerId =
      'system' in frame.with ? (await directory.resolveSystem(app.id)).id : await find(app, frame.with);
    if (peerId === undefined) throw nobody();
    await asItIsNow(session, () => conversations.read(session, peerId, frame.messageId));
  }

  /** Does it again where the user turns out to be merged into another one. */
  async function asItIsNow<T>(session: Session, act: () => Promise<T>): Promise<T> {
    const ownId = session.identityId;
    try {
      return await act();
    } catch (error) {
      await follow(session);
      if (session.identityId === ownId) throw error;
      return act();
    }
  }

  async function watch(app: App, session: Session, addresses: readonly Address[]): Promise<void> {
    const users: Found[] = [];
    for (const [i, user] of (await directory.lookUpRows(app, addresses)).entries())
      if (!(user instanceof ImidError)) users.push(user);
      // Who is gone keeps nobody from watching the others.
      else if (user.code !== 'not_found')
        throw new ImidError(user.code, `users.${i}: ${user.message}`, {
          errors: [{ in: 'frame', pointer: `#/users/${i}`, detail: user.message }],
        });
    await watching.watch(session, users);
  }

  return async (session: Session, frame: ActFrame): Promise<Recalled | undefined> => {
    const app = await apps.resolve(session.appId);
    requireScheme(app, session.scheme);
    if (frame.type === 'recall') return asItIsNow(session, () => recall(app, session, frame));
    if (frame.type === 'read') await read(app, session, frame);
    else if (frame.type === 'watch') await watch(app, session, frame.users);
    else {
      const id = await find(app, frame.to);
      if (id !== undefined)
        await typing.type({ appId: app.id, id: session.identityId }, { appId: app.id, id });
    }
    return undefined;
  };
}
