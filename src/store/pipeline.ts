// One connection on which statements follow each other without waiting for answers. Each is a transaction of its own; they
// are done, and answered, in the order in which they were given.

import pg from 'pg';

export interface Pipeline {
  query<R extends pg.QueryResultRow>(query: pg.QueryConfig): Promise<pg.QueryResult<R>>;
  close(): Promise<void>;
}

/** Connects when it is first needed, and again after the connection broke: whatever was under way fails then. */
export function createPipeline(config: pg.ClientConfig): Pipeline {
  let opening: Promise<pg.Client> | undefined;

  async function open(): Promise<pg.Client> {
    const client = new pg.Client({ ...config, pipeline: true });
    const forget = (): void => {
      if (opening === own) opening = undefined;
    };
    const own = opening!;
    client.on('error', forget);
    client.on('end', forget);
    try {
      await client.connect();
      return client;
    } catch (error) {
      forget();
      throw error;
    }
  }

  return {
    async query(query) {
      opening ??= Promise.resolve().then(open);
      const client = await opening;
      return client.query(query);
    },
    async close() {
      const client = await opening?.catch(() => undefined);
      await client?.end();
    },
  };
}
