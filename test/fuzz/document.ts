// The OpenAPI document as the fuzz test needs it: every operation, and whether an answer is one that it declares.

import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import { parse } from 'yaml';
import { errorCodes, type ErrorCode } from '../../src/errors.ts';
import type { Json } from '../harness.ts';
import type { Reply } from './wire.ts';

export interface FuzzOperation {
  name: string;
  method: string;
  path: string;
  isSocket: boolean;
  parameters: { in: string; name: string; required?: boolean; schema: Json }[];
  /** By content type. */
  bodies: Record<string, Json>;
  isBodyRequired: boolean;
  responses: Record<string, Json>;
}

export interface FuzzDocument {
  operations: FuzzOperation[];
  resolve(schema: Json): Json;
  /** What is wrong with an answer of the operation; of none, when the path may be anybody's. */
  faultOf(reply: Reply, operation?: FuzzOperation): string | undefined;
}

/** Headers without which the answer is none, whatever the document says of `required`. */
const NEEDED = new Set(['Retry-After', 'WWW-Authenticate']);
const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/;

export function readDocument(yaml: string): FuzzDocument {
  const document: Json = parse(yaml);
  const ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: true });
  ajv.addFormat('date-time', RFC_3339).addFormat('uuid', UUID).addFormat('lines', true);
  ajv.addSchema({ $id: 'document', ...document });
  const compiled = new Map<Json, ValidateFunction>();

  function validatorOf(schema: Json): ValidateFunction {
    let validate = compiled.get(schema);
    if (!validate) {
      const text = JSON.stringify(schema).replaceAll('"$ref":"#/', '"$ref":"document#/');
      validate = ajv.compile(JSON.parse(text));
      compiled.set(schema, validate);
    }
    return validate;
  }

  function resolve(schema: Json): Json {
    if (schema.$ref === undefined) return schema;
    const names: string[] = schema.$ref.slice('#/'.length).split('/');
    return names.reduce((at, name) => at[name], document);
  }

  function faultOfProblem(reply: Reply): string | undefined {
    if (reply.type !== 'application/problem+json') return `a ${reply.status} of type ${reply.type}`;
    const problem = parseText(reply.text);
    const validate = validatorOf(document.components.schemas.Problem);
    if (!validate(problem)) return `not a problem document: ${ajv.errorsText(validate.errors)}`;
    const { code, status, detail } = problem as { code: ErrorCode; status: number; detail: string };
    if (status !== reply.status || errorCodes[code].status !== status) return `${code} with ${reply.status}`;
    return detail === '' ? 'no detail' : undefined;
  }

  function faultOfDeclared(reply: Reply, { method, responses }: FuzzOperation): string | undefined {
    const declared = responses[reply.status];
    if (declared === undefined) return 'the status is not declared';
    for (const name of Object.keys(declared.headers ?? {}))
      if (
        reply.headers[name.toLowerCase()] === undefined &&
        (NEEDED.has(name) || declared.headers[name].required)
      )
        return `the header ${name} is missing`;
    if (method === 'HEAD') return undefined;
    const contents: Record<string, Json> = declared.content ?? {};
    if (Object.keys(contents).length === 0) return reply.text === '' ? undefined : 'a body is not declared';
    const content = contents[reply.type];
    if (content === undefined) return `the type ${reply.type} is not declared`;
    if (reply.status >= 400 && reply.type === 'application/problem+json') {
      const { code } = parseText(reply.text);
      const codes = content.examples ? Object.keys(content.examples) : [content.example?.code ?? code];
      return codes.includes(code) ? undefined : `the code ${code} is not declared`;
    }
    if (reply.type === 'application/x-ndjson')
      return reply.text.split('\n').every((line) => line === '' || parseText(line) !== undefined)
        ? undefined
        : 'a line is not JSON';
    const validate = validatorOf(content.schema);
    const value = reply.type.endsWith('json') ? parseText(reply.text) : reply.text;
    return validate(value) ? undefined : ajv.errorsText(validate.errors);
  }

  return {
    operations: Object.entries<Json>(document.paths).flatMap(([path, methods]) =>
      Object.entries<Json>(methods).map(([verb, described]) => ({
        name: `${verb.toUpperCase()} ${path}`,
        method: verb.toUpperCase(),
        path,
        isSocket: '101' in described.responses,
        parameters: described.parameters ?? [],
        bodies: described.requestBody?.content ?? {},
        isBodyRequired: described.requestBody?.required === true,
        responses: described.responses,
      })),
    ),
    resolve,
    faultOf(reply, operation) {
      if (reply.status >= 500) return 'the service failed';
      const isBare = reply.method === 'HEAD';
      // An endpoint of OAuth refuses in a form of its own, and declares it.
      const isOwnForm = operation?.responses[reply.status]?.content?.['application/json'] !== undefined;
      if (reply.status >= 400 && !isBare && !isOwnForm) {
        const fault = faultOfProblem(reply);
        if (fault !== undefined) return fault;
      }
      return operation && faultOfDeclared(reply, isBare ? { ...operation, method: 'HEAD' } : operation);
    },
  };
}

function parseText(text: string): Json {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
