// Recalling a message, by its sender.

import { ImidError } from '../errors.ts';
import type { App } from '../identity/apps.ts';
import { violatedUnique } from '../store/constraints.ts';
import type { Database } from '../store/database.ts';
import { recallMessage, type Recalled } from '../store/recalls.ts';
import type { ClientFrame } from './frames.ts';
import type { Session } from './session.ts';

export interface RecallingOptions {
  database: Database;
  /** Something has come into inboxes. */
  onMoved: (inboxes: Recalled['inboxes']) => void;
}

export function createRecalling({ database: { kysely, clock }, onMoved }: RecallingOptions) {
  /** Throws `not_found`, `conflict` where it is too late, and `unavailable`. */
  return async (
    app: App,
    session: Session,
    { id, messageId }: ClientFrame & { type: 'recall' },
  ): Promise<Recalled> => {
    const at = clock.now();
    const outcome = await recallMessage(kysely, {
      appId: app.id,
      senderId: session.identityId,
      messageId,
      clientId: id,
      at,
      notBefore: new Date(at.getTime() - app.recallSeconds * 1_000),
    }).catch((error: unknown) => {
      if (violatedUnique(error) !== 'message__client_id') throw error;
      throw new ImidError('conflict', 'The id is that of another message.');
    });
    if (outcome === 'unknown') throw new ImidError('not_found', 'There is no such message of this user.');
    if (outcome === 'late')
      throw new ImidError('conflict', `A message can be recalled for ${app.recallSeconds} seconds.`);
    if (outcome === 'moved')
      throw new ImidError('unavailable', 'Two users are being merged; recall it again.');
    onMoved(outcome.inboxes);
    return outcome;
  };
}
