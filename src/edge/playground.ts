// The playground, where an operator wants it: a page of its own, and what it is made of. The page's TypeScript runs as it is,
// as the service's does: Node takes the types out of each file at the start. So there is nothing to build, in installs
// without devDependencies either.

import { readdir, readFile } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { extname } from 'node:path';
import type { FastifyPluginAsync } from 'fastify';
import type { Headers } from './headers.ts';

/** By where they are asked for: the library beside the page, as it is in the source. */
const FOLDERS = {
  page: new URL('../playground/', import.meta.url),
  client: new URL('../client/', import.meta.url),
};

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.ts': 'text/javascript; charset=utf-8',
};

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join('; ');

/** Nothing of it is read unless it is registered. */
export const playground: FastifyPluginAsync<{ headers: Headers }> = async (app, { headers }) => {
  const send = (path: string, type: string, text: string): void =>
    void app.get(path, { schema: { hide: true } }, async (_request, reply) =>
      reply
        .headers({ ...headers, 'content-security-policy': POLICY })
        .type(type)
        .send(text),
    );
  for (const [name, folder] of Object.entries(FOLDERS))
    for (const file of await readdir(folder)) {
      const type = TYPES[extname(file)];
      if (!type) continue;
      const text = await readFile(new URL(file, folder), 'utf8');
      if (file === 'index.html') send('/playground', type, text);
      else
        send(`/playground/${name}/${file}`, type, file.endsWith('.ts') ? stripTypeScriptTypes(text) : text);
    }
};
