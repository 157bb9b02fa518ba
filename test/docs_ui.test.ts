// The Swagger UI, used in a real browser as an admin uses it, and the OpenAPI document that it shows.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { Page } from 'playwright-core';
import { parse } from 'yaml';
import { testInBrowser } from './browser.ts';
import { ADMIN_KEY, startService, type Json, type Service } from './harness.ts';

let service: Service;
let document: Json;
before(async () => {
  service = await startService();
  document = parse((await service.call('GET', '/openapi.yaml', { key: '' })).body, { maxAliasCount: 0 });
});

testInBrowser(
  'an admin creates an app, registers, issues a token and sends a message by clicking alone',
  async (page) => {
    await service.createApp(); // so that the appId is not the one of the examples
    const requested: string[] = [];
    const complaints: string[] = [];
    page.on('request', (request) => requested.push(request.url()));
    page.on('console', (message) => complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(error.message));

    await page.goto(`${service.url}/docs`);
    await authorize(page, ADMIN_KEY);
    const created = await execute(page, 'createApp');
    const { appId } = created.body;
    const registered = await execute(page, 'registerIdentity', { appId });
    const issued = await execute(page, 'issueToken', { appId });
    const sent = await execute(page, 'sendMessage', { appId });

    assert.deepEqual(
      [created, registered, issued, sent].map(({ status }) => status),
      ['201', '201', '201', '201'],
    );
    assert.deepEqual(created.body.schemes, ['composed', 'registered']);
    assert.notEqual(appId, '1');
    const inbox = await service.call('GET', `/v1/apps/${appId}/messages?imId=${registered.body.imId}`);
    assert.deepEqual(
      inbox.body.items.map(({ messageId, seq }: Json) => ({ messageId, seq })),
      [{ messageId: sent.body.messageId, seq: 1 }],
    );
    const { body: me } = await service.call('GET', '/v1/me', { key: issued.body.token });
    assert.deepEqual([me.scheme, me.uid], ['composed', 'alice']);
    assert.deepEqual(complaints, []);
    assert.deepEqual(
      requested.filter((url) => new URL(url).origin !== service.url && !url.startsWith('data:')),
      [],
    );
  },
);

testInBrowser(
  'the page fits a narrow window, and shows the 401 where there is no credential',
  async (page) => {
    await page.setViewportSize({ width: 400, height: 800 });
    await page.goto(`${service.url}/docs`);
    await open(page, 'connect');
    await open(page, 'sendMessage');
    const { status, body } = await execute(page, 'listApps');
    assert.deepEqual([status, body.code], ['401', 'unauthorized']);
    assert.equal(await page.evaluate('document.documentElement.scrollWidth'), 400);
  },
);

test('the document is OpenAPI 3.1', async () => {
  assert.equal(document.openapi, '3.1.0');
  const { valid, errors } = await new Validator().validate(structuredClone(document));
  assert.ok(valid, JSON.stringify(errors, null, 2));
});

test('every reference of the document resolves', () => {
  for (const { $ref } of objectsOf(document))
    if ($ref !== undefined) assert.ok(resolve($ref) !== undefined, `${$ref} leads nowhere`);
});

test('every operation has a summary, one known tag and an operationId of its own', () => {
  const tags = new Set(document.tags.map((tag: Json) => tag.name));
  for (const { name, operation } of operations()) {
    assert.ok(operation.summary, `${name} has no summary`);
    assert.equal(operation.tags.length, 1, name);
    assert.ok(tags.has(operation.tags[0]), `${name} has an unknown tag`);
  }
  const ids = operations().map(({ operation }) => operation.operationId);
  assert.ok(!ids.includes(undefined));
  assert.equal(new Set(ids).size, ids.length);
});

test('every parameter is described, and those of the path have examples to start from', () => {
  for (const { name, path, operation } of operations()) {
    const parameters: Json[] = operation.parameters ?? [];
    for (const each of parameters) {
      assert.ok(each.description, `${name} does not describe ${each.name}`);
      if (each.in === 'path') assert.ok(each.example !== undefined, `${name} has no example of ${each.name}`);
    }
    const inPath = parameters.filter((each) => each.in === 'path').map((each) => each.name);
    assert.deepEqual(
      inPath,
      Array.from(path.matchAll(/\{(\w+)\}/g), (match) => match[1]),
      name,
    );
  }
});

test('every body, asked for or answered, has an example that its schema takes', () => {
  const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true }).addSchema(
    document,
    'document',
  );
  for (const { name, pointer, operation } of operations()) {
    const { requestBody, responses } = operation;
    const holders = Object.entries<Json>(responses).map(([status, answer]) => ({
      at: `/responses/${status}`,
      ...answer,
    }));
    for (const { at, content = {} } of [...holders, { at: '/requestBody', ...requestBody }])
      for (const [type, media] of Object.entries<Json>(content)) {
        const examples = media.examples ? Object.values<Json>(media.examples) : [{ value: media.example }];
        const check = ajv.compile({ $ref: `document#${pointer}${at}/content/${escape(type)}/schema` });
        for (const { value } of examples) {
          assert.ok(value !== undefined, `${name}${at} has no example`);
          assert.ok(check(value), `${name}${at}: ${ajv.errorsText(check.errors)}`);
        }
      }
  }
});

test('every answer is described and says what it holds, and what needs a credential documents the 401', () => {
  for (const { name, operation } of operations()) {
    for (const [status, answer] of Object.entries<Json>(operation.responses)) {
      assert.ok(
        answer.description && answer.description !== 'Default Response',
        `${name} does not describe ${status}`,
      );
      assert.equal('content' in answer, !['101', '204', '304'].includes(status), `${name} ${status}`);
    }
    const { security = document.security, responses } = operation;
    assert.equal('401' in responses, security.length > 0, name);
    const isBounded = 'application/json' in (operation.requestBody?.content ?? {});
    if (isBounded) assert.ok('413' in responses, name);
  }
});

interface Operation {
  name: string;
  path: string;
  /** Where it is in the document. */
  pointer: string;
  operation: Json;
}

function operations(): Operation[] {
  return Object.entries<Json>(document.paths).flatMap(([path, methods]) =>
    Object.entries<Json>(methods).map(([method, operation]) => ({
      name: `${method} ${path}`,
      path,
      pointer: `/paths/${escape(path)}/${method}`,
      operation,
    })),
  );
}

function* objectsOf(value: Json): Generator<Json> {
  if (typeof value !== 'object' || value === null) return;
  yield value;
  for (const each of Object.values(value)) yield* objectsOf(each);
}

/** What a JSON pointer of the document, `#/...`, leads to. */
function resolve(pointer: string): Json {
  const keys = pointer.split('/').slice(1);
  return keys.reduce((value, key) => value?.[key.replaceAll('~1', '/').replaceAll('~0', '~')], document);
}

/** A key in a JSON pointer in its URI form. */
function escape(key: string): string {
  return encodeURIComponent(key.replaceAll('~', '~0').replaceAll('/', '~1'));
}

async function authorize(page: Page, key: string): Promise<void> {
  await page.getByRole('button', { name: 'Authorize' }).click();
  const dialog = page.locator('.modal-ux');
  await dialog.getByRole('textbox').fill(key);
  await dialog.getByRole('button', { name: 'Apply credentials' }).click();
  await dialog.getByRole('button', { name: 'Close' }).click();
}

async function open(page: Page, operationId: string) {
  const operation = page.locator(`.opblock[id$="-${operationId}"]`);
  await operation.locator('.opblock-summary-control').click();
  await operation.getByText('Responses', { exact: true }).first().waitFor();
  return operation;
}

/** Tries an operation out as it is prefilled, but for these fields, and reads the answer off the page. */
async function execute(page: Page, operationId: string, fields: Record<string, string> = {}) {
  const operation = await open(page, operationId);
  await operation.getByRole('button', { name: 'Try it out' }).click();
  for (const [name, value] of Object.entries(fields))
    await operation.locator(`tr[data-param-name="${name}"]`).getByRole('textbox').fill(value);
  await operation.getByRole('button', { name: 'Execute' }).click();
  const answer = operation.locator('.live-responses-table .response').first();
  const status = (await answer.locator('.response-col_status').innerText()).trim();
  const text = await answer.locator('.response-col_description .highlight-code code').first().innerText();
  const body: Json = JSON.parse(text);
  return { status, body };
}
