// Where the story is played: a service, an app on it, the customer's server and the clients; all of it is gone at the end.
// Says how it went, and sets the exit code: 1 when anything was not as it should be.

import { styleText } from 'node:util';
import { ask } from './ask.ts';
import { openBackend, type Backend } from './backend.ts';
import { Client } from './client.ts';
import { startService, type Service } from './service.ts';
import { createTranscript, type Scheme, type Transcript } from './transcript.ts';

export interface Stage {
  readonly backend: Backend;
  readonly transcript: Transcript;
  /** Somebody with a program of the scheme, known to nobody yet, on a device of its own unless one is given. */
  enter(name: string, scheme: Scheme, label?: string, device?: string): Client;
}

type Play = (stage: Stage) => Promise<void>;

export async function perform(play: Play): Promise<void> {
  const transcript = createTranscript();
  const startedAt = performance.now();
  try {
    await playOn(transcript, play);
    const verdict = styleText(['green', 'bold'], 'All as it should be');
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    transcript.print(`\n${verdict}: ${transcript.checks} checks in ${seconds} s. Nothing is left behind.`);
  } catch (error) {
    process.exitCode = 1;
    const verdict = styleText(['red', 'bold'], 'Not as it should be', { stream: process.stderr });
    console.error(`\n${verdict}: ${causes(error).join('\nAnd: ')}`);
  }
}

async function playOn(transcript: Transcript, play: Play): Promise<void> {
  transcript.print('The seed flow in both schemes, side by side\n');
  await using service = await findService();
  await using app = await createApp(service);
  transcript.head(`imid at ${service.url}, app ${app.appId} with both schemes`);
  const place = { imidUrl: service.url, tell: transcript.tell };
  using backend = await openBackend({ ...place, appId: app.appId, apiKey: app.apiKey });
  using clients = new DisposableStack();
  await play({
    backend,
    transcript,
    enter: (name, scheme, label = name, device = `device of ${label}`) =>
      clients.use(new Client({ ...place, name, scheme, label, device, backendUrl: backend.url })),
  });
}

/** The one that is asked for, or one of our own. */
async function findService(): Promise<Service> {
  const [, , url] = process.argv;
  if (url === undefined) return startService();
  const adminKey = process.env['IMID_ADMIN_KEY'];
  if (!adminKey) throw new Error(`IMID_ADMIN_KEY must be the admin key of ${url}.`);
  return { url: url.replace(/\/+$/, ''), adminKey, [Symbol.asyncDispose]: async () => {} };
}

async function createApp({ url, adminKey }: Service) {
  const body = { name: 'boats', schemes: ['composed', 'registered'] };
  const created = await ask('POST', `${url}/v1/apps`, { bearer: adminKey, body });
  const { appId, apiKey } = created.body as { appId: string; apiKey: string };
  return {
    appId,
    apiKey,
    async [Symbol.asyncDispose](): Promise<void> {
      await ask('DELETE', `${url}/v1/apps/${appId}`, { bearer: adminKey });
    },
  };
}

/** What went wrong first, and what came of it while all was put away. */
function causes(error: unknown): string[] {
  if (error instanceof SuppressedError) return [...causes(error.suppressed), ...causes(error.error)];
  return [error instanceof Error ? error.message : String(error)];
}
