// What a client asks of its user by HTTP, in the shapes that the service answers.

import type { Client, Contact, Conversation, Message, Page, Party } from './contract.ts';
import type { Rest } from './rest.ts';

type Queries = Pick<
  Client,
  'conversations' | 'history' | 'contacts' | 'blocked' | 'block' | 'profile' | 'sharePresence'
>;

export const createQueries = ({ get, put, patch }: Rest): Queries => ({
  conversations: (options) => get('/conversations', { ...options }) as Promise<Page<Conversation>>,
  history: (options) => get('/messages', { ...options }) as Promise<{ items: Message[]; epoch: string }>,
  contacts: (options) => get('/contacts', { ...options }) as Promise<Page<Contact>>,
  blocked: () => get('/blocked') as Promise<Page<Party>>,
  async block(users) {
    await put('/blocked', { items: users });
  },
  profile: () => get('') as ReturnType<Queries['profile']>,
  async sharePresence(presence) {
    await patch('', { presence });
  },
});
