// What tests of renaming by a CSV file share: many users, files of renames, and who is called what.

import assert from 'node:assert/strict';
import type { Answer, Json, Service, Tenant } from './harness.ts';
import { createTransfers, parseLines } from './imports.ts';

export type Pair = readonly [name: string, newName: string];

export const toCsv = (pairs: readonly Pair[]): string =>
  `name,newName\n${pairs.map((pair) => `${pair.map(quote).join(',')}\n`).join('')}`;

const quote = (cell: string): string => (/[",]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);

export function createRenames(service: () => Service) {
  const { importLines, exportLines } = createTransfers(service);

  function send(app: Tenant, body: string | Buffer, query = '', headers = {}): Promise<Answer> {
    return service().call('POST', `${app.path}/identities/rename${query}`, {
      key: app.apiKey,
      body,
      headers: { 'content-type': 'text/csv', ...headers },
    });
  }

  return {
    send,
    rename: (app: Tenant, pairs: readonly Pair[]) => send(app, toCsv(pairs)),

    async dryRun(app: Tenant, body: string | Buffer): Promise<Json[]> {
      const answer = await send(app, body, '?dryRun=true');
      assert.deepEqual([answer.status, answer.body.code], [200, undefined]);
      return parseLines(answer.text);
    },

    /** Users `u0`, `u1` and so on. */
    async createUsers(count: number, schemes?: string[]): Promise<Tenant> {
      const app = await service().createApp(schemes);
      await importLines(
        app,
        Array.from({ length: count }, (_, i) => ({ userId: `u${i}` })),
      );
      return app;
    },

    /** The name of each imId, in the order of registering. */
    namesOf: async (app: Tenant): Promise<Map<string, string>> =>
      new Map((await exportLines(app)).map(({ imId, userId }) => [imId, userId])),

    uidOf: async (token: string) => {
      const { body } = await service().call('GET', '/v1/me', { key: token });
      return body.uid ?? body.code;
    },
  };
}
