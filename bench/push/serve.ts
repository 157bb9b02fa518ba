// The service as its users start it, but that APNs is somewhere else: at APNS_ORIGIN.

import { createApp } from '../../src/app.ts';
import { readConfig } from '../../src/config.ts';
import { openDatabase } from '../../src/store/database.ts';

const config = readConfig();
const origin = process.env['APNS_ORIGIN']!;
const database = await openDatabase({
  connection: { connectionString: config.databaseUrl },
  log: (message, error) => console.error(message, error ?? ''),
});
const app = await createApp({
  ...config,
  database,
  adminKey: config.adminKey!,
  secret: config.secret!,
  traces: undefined,
  pushEndpoints: { apns: { production: origin, sandbox: origin } },
});
process.on('SIGTERM', () => {
  void app
    .close()
    .then(() => database.close())
    .then(() => process.exit(0));
});
console.log(`listening at ${await app.listen({ port: config.port, host: config.host })}`);
