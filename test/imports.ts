// What tests of import and export share: sending lines, reading lines.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request, type ClientRequest, type IncomingMessage } from 'node:http';
import { eventually, type Json, type Service, type Tenant } from './harness.ts';

export const NDJSON = 'application/x-ndjson';
export const CSV = 'text/csv';

export function createTransfers(service: () => Service, what: 'identities' | 'messages' = 'identities') {
  async function importText(
    app: Tenant,
    body: string | Buffer,
    type = NDJSON,
    headers: Record<string, string> = {},
  ): Promise<Json[]> {
    const answer = await service().call('POST', `${app.path}/${what}/import`, {
      key: app.apiKey,
      body,
      headers: { 'content-type': type, ...headers },
    });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    return parseLines(answer.text);
  }

  async function exportText(app: Tenant, accept = '*/*', query = ''): Promise<string> {
    const answer = await service().call('GET', `${app.path}/${what}/export${query}`, {
      key: app.apiKey,
      headers: { accept },
    });
    assert.equal(answer.status, 200, answer.text);
    return answer.text;
  }

  return {
    importText,
    exportText,
    importLines: (app: Tenant, lines: object[]) =>
      importText(app, lines.map((line) => `${JSON.stringify(line)}\n`).join('')),
    exportLines: async (app: Tenant, query?: string) => parseLines(await exportText(app, undefined, query)),

    /** Exports that nobody reads, once each of them stands still; `areOpen` waits for so many of them to be open. */
    async leaveUnread(app: Tenant, count: number) {
      const { pool } = service().database;
      const areOpen = (wanted: number, state: string) =>
        eventually(async () => {
          const { rowCount } = await pool.query(
            `select from pg_stat_activity where datname = $1 and state like 'idle in transaction%'`,
            [service().databaseName],
          );
          return rowCount === wanted;
        }, state);
      const responses = await Promise.all(
        Array.from({ length: count }, () => {
          const asking = request(`${service().url}${app.path}/${what}/export`, {
            headers: { authorization: `Bearer ${app.apiKey}` },
          });
          asking.on('error', () => {}).end();
          return responseTo(asking);
        }),
      );
      await areOpen(count, 'all exports to stand still');
      return { responses, areOpen };
    },

    /** An import that goes on until it is ended, as bytes. */
    begin(app: Tenant, headers: Record<string, string> = {}): ClientRequest {
      const sending = request(`${service().url}${app.path}/${what}/import`, {
        method: 'POST',
        headers: { authorization: `Bearer ${app.apiKey}`, 'content-type': NDJSON, ...headers },
      });
      sending.on('error', () => {});
      return sending;
    },
  };
}

export const parseLines = (text: string): Json[] =>
  text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));

export async function responseTo(sending: ClientRequest): Promise<IncomingMessage> {
  const [response] = await once(sending, 'response');
  return response;
}

export async function bytesOf(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return Buffer.concat(chunks);
}
