// The contact lists of users.

import type { AppId } from '../ids.ts';
import { findContacts, replaceContacts, type Contact, type NewContact } from '../store/contacts.ts';
import type { Database } from '../store/database.ts';
import { nobody } from './schemes.ts';

export type ContactBook = ReturnType<typeof createContactBook>;

export function createContactBook({ kysely }: Database) {
  return {
    /** Replaces the whole list. Throws `not_found` when its owner is gone. */
    async replace(appId: AppId, ownerId: number, contacts: readonly NewContact[]): Promise<void> {
      if (!(await replaceContacts(kysely, appId, ownerId, contacts))) throw nobody();
    },

    list: (appId: AppId, ownerId: number, afterPosition: number, limit: number): Promise<Contact[]> =>
      findContacts(kysely, appId, ownerId, afterPosition, limit),
  };
}
