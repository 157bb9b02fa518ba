// What the customer's server calls at imid, with its app's API key.

import { ask, Refusal } from './ask.ts';
import type { Scheme } from './transcript.ts';

export type Address = { uid: string } | { userId: string } | { imId: string };
export type Contact = Address & { displayName: string };

export interface Identity {
  imId: string;
  scheme: Scheme;
  uid?: string;
  userId?: string;
}

interface Kept {
  seq: number;
  messageId: string;
  content: { text: string };
}

export function openImid({ url, appId, apiKey }: { url: string; appId: string; apiKey: string }) {
  const call = (method: string, path: string, body?: object) =>
    ask(method, `${url}/v1/apps/${appId}${path}`, { bearer: apiKey, ...(body && { body }) });

  return {
    /** 201 with a new imId, or 200 with the one it has. */
    async register(userId: string): Promise<{ status: number; imId: string }> {
      const { status, body } = await call('POST', '/identities', { userId });
      return { status, imId: (body as Identity).imId };
    },

    async issueToken(address: Address, deviceId: string): Promise<string> {
      const { body } = await call('POST', '/tokens', { ...address, deviceId });
      return (body as { token: string }).token;
    },

    /** The list that imid keeps for the user's clients. */
    async putContacts(imId: string, items: Contact[]): Promise<void> {
      await call('PUT', `/contacts/${encodeURIComponent(imId)}`, { items });
    },

    /** Whom addresses lead to. */
    async resolve(addresses: Address[]): Promise<Identity[]> {
      const { body } = await call('POST', '/resolve', { addresses });
      return (body as { results: Identity[] }).results;
    },

    async readInbox(imId: string): Promise<Kept[]> {
      const { body } = await call('GET', `/messages?imId=${encodeURIComponent(imId)}`);
      return (body as { items: Kept[] }).items;
    },

    /** Says whom pushes go to. False: the service refuses the URL, which is one of this machine. */
    async putSender(sender: { url: string; secret: string }): Promise<boolean> {
      try {
        await call('PUT', '/push/webhook', { url: sender.url, secrets: [sender.secret] });
        return true;
      } catch (error) {
        if (error instanceof Refusal && error.status === 400) return false;
        throw error;
      }
    },

    /** Asks the sender whether it takes what is signed. */
    async trySender(): Promise<unknown> {
      return (await call('POST', '/push/webhook/test')).body;
    },

    async findPresence(imId: string): Promise<{ online: boolean; foreground: boolean }> {
      const { body } = await call('GET', `/presence?imId=${encodeURIComponent(imId)}`);
      return (body as { items: [{ online: boolean; foreground: boolean }] }).items[0];
    },

    async listDevices(imId: string): Promise<unknown[]> {
      const { body } = await call('GET', `/devices?imId=${encodeURIComponent(imId)}`);
      return (body as { items: unknown[] }).items;
    },

    /** How many users of either scheme have a row. */
    async countRows(): Promise<Record<Scheme, number>> {
      const { body } = await call('GET', '/schemes');
      const { composed, registered } = body as Record<Scheme, { users: number }>;
      return { composed: composed.users, registered: registered.users };
    },
  };
}
