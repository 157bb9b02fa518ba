// The shapes that requests and answers share: JSON Schema, TypeScript type and OpenAPI component in one.

import { Type, type Static, type TSchema } from 'typebox';
import { errorCodes, type ErrorCode } from '../errors.ts';
import type { ImId, Name as NameText, Scheme as SchemeText } from '../ids.ts';

const text = (options: Type.TStringOptions) => Type.String(options);

/** What examples say: alice of app 1 is a composed user, bob a registered one. */
export const EXAMPLE_AT = '2026-11-25T10:00:00.000Z';
export const ALICE = { imId: '1:alice', uid: 'alice' };
export const BOB = { imId: 'im_01jcn3x5t8e4v9k2m6q7r8s9t0', userId: 'bob' };
export const EXAMPLE_MESSAGE = {
  seq: 1,
  messageId: '019af3c2-5c1e-7000-8a2b-3c4d5e6f7a8b',
  from: ALICE,
  to: BOB,
  content: { text: 'hello' },
  at: EXAMPLE_AT,
};

export const Name = Type.Unsafe<NameText>(
  text({
    format: 'name',
    minLength: 1,
    maxLength: 128,
    description:
      'The customer’s own id of a user: 1 to 128 bytes of UTF-8, compared byte for byte; no characters of the ' +
      'categories Cc, Cf, Cs, Zl, Zp, no white space at its ends.',
  }),
);

export const NamePrefix = text({ format: 'text', minLength: 1, maxLength: 128, examples: ['b'] });

/** Whom to adopt when a userId is registered: who has it as a uid, nobody, or who has another uid. */
export const Adopt = Type.Unsafe<boolean | { uid: NameText }>({
  type: ['boolean', 'object'],
  properties: { uid: Name },
  required: ['uid'],
  additionalProperties: false,
});

export const ImIdText = Type.Unsafe<ImId>(
  text({
    format: 'im-id',
    minLength: 3,
    maxLength: 145,
    description: '`<appId>:<uid>` in the composed scheme, `im_` and 26 characters in the registered one.',
    examples: [ALICE.imId],
  }),
);

export const AppIdText = text({
  format: 'app-id',
  description: 'The app, a positive integer.',
  examples: ['1'],
});
/** The path of a route about one app. */
export const AppPath = Type.Object({ appId: AppIdText });
/** The path of a route about one user of an app. */
export const UserPath = Type.Object({ appId: AppIdText, imId: ImIdText });
export const SchemeName = Type.Unsafe<SchemeText>(Type.String({ enum: ['composed', 'registered'] }));
export const Timestamp = text({ format: 'date-time', examples: [EXAMPLE_AT] });
export const Label = text({
  format: 'text',
  minLength: 1,
  maxLength: 100,
  description: 'No control characters.',
});
export const DeviceId = text({ format: 'name', minLength: 1, maxLength: 128, examples: ['alices-phone'] });
export const Limit = Type.Integer({
  minimum: 1,
  maximum: 1000,
  default: 100,
  description: 'Items of a page, at most.',
});
export const Cursor = text({ maxLength: 200, description: 'The `nextCursor` of the page before.' });
export const Seq = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
export const After = { ...Seq, description: 'The last seq that the caller has; 0 for the whole inbox.' };
/** What a sender calls a message, so that a repeat is known. */
export const ClientId = text({
  format: 'name',
  minLength: 1,
  maxLength: 128,
  description: 'The sender’s own id of the message. The same id again answers the same and stores nothing.',
});

export const MessageId = Type.String({
  pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$',
  description: 'A message by the id that the service has given it.',
});

const addressFields = {
  uid: Type.Optional(Name),
  userId: Type.Optional(Name),
  imId: Type.Optional(ImIdText),
};
const EXACTLY_ONE = [{ required: ['uid'] }, { required: ['userId'] }, { required: ['imId'] }];

/** An object that names a user beside its other fields. */
export function addressed<T extends Record<string, TSchema>>(fields: T, options: object = {}) {
  return Type.Object(
    { ...addressFields, ...fields },
    { ...options, oneOf: EXACTLY_ONE, additionalProperties: false },
  );
}

export const Address = Type.Object(addressFields, {
  $id: 'Address',
  minProperties: 1,
  maxProperties: 1,
  additionalProperties: false,
  description: 'Names a user: exactly one of `uid`, `userId`, `imId`.',
  examples: [{ uid: 'bob' }],
});

export const Party = Type.Object(
  {
    imId: Type.Optional(Type.String()),
    uid: Type.Optional(Type.String()),
    userId: Type.Optional(Type.String()),
    erased: Type.Optional(Type.Boolean()),
    system: Type.Optional(Type.Boolean()),
  },
  {
    $id: 'Party',
    description:
      'A user as it is called now. Backends are shown every form known; clients the form of their own scheme; ' +
      '`{"erased": true}` stands for a user that was erased, `{"system": true}` for the app itself.',
    examples: [BOB],
  },
);

export const Message = Type.Object(
  {
    seq: Seq,
    messageId: Type.String({ format: 'uuid' }),
    from: ref(Party),
    to: ref(Party),
    content: Type.Unknown({ description: 'Any JSON; null of a message that was recalled.' }),
    at: Timestamp,
    recalled: Type.Optional(Type.Boolean({ description: 'Its sender has recalled it.' })),
    recalls: Type.Optional(
      Type.String({ format: 'uuid', description: 'It says that this message was recalled.' }),
    ),
  },
  {
    $id: 'Message',
    examples: [EXAMPLE_MESSAGE],
  },
);

const PUSH_TTL_MAX_SECONDS = 28 * 86_400;

export const PushText = Type.Union(
  [
    Type.Literal(false, { description: 'No push.' }),
    Type.Object(
      {
        title: Type.Optional(text({ format: 'text', maxLength: 200 })),
        body: Type.Optional(text({ format: 'lines', maxLength: 1000 })),
        data: Type.Optional(
          Type.Unsafe<Record<string, string>>({
            type: 'object',
            maxProperties: 20,
            // What providers keep for themselves, and what says that a notification goes.
            propertyNames: {
              pattern:
                '^(?!(aps|from|notification|message_type|cleared)$|google|gcm)[A-Za-z][A-Za-z0-9_]{0,49}$',
              description: 'A name of letters, digits and `_` that no provider keeps for itself.',
            },
            additionalProperties: text({ format: 'lines', maxLength: 500 }),
            description:
              'For the app, beside `messageId`, `seq`, `count` and `sender`. At most 2 KiB of JSON.',
          }),
        ),
        priority: Type.Optional(Type.Unsafe<'high' | 'normal'>(text({ enum: ['high', 'normal'] }))),
        ttlSeconds: Type.Optional(
          Type.Integer({
            minimum: 0,
            maximum: PUSH_TTL_MAX_SECONDS,
            description:
              'For how long after the message it is worth a push, be it held back here or kept by the provider for a device ' +
              'that is out of reach; half a minute at least.',
          }),
        ),
      },
      { additionalProperties: false },
    ),
  ],
  {
    $id: 'PushText',
    description: 'What a push shows, or that there is to be none.',
    examples: [{ title: 'alice', body: 'hello' }],
  },
);

export const ItemError = Type.Object(
  { code: Type.String({ enum: Object.keys(errorCodes) }), detail: Type.String() },
  {
    $id: 'ItemError',
    description: 'Why one item of a list came to nothing.',
    examples: [{ code: 'not_found', detail: 'Nobody in this app has this address.' }],
  },
);

const Problem = Type.Object(
  {
    type: Type.String({ description: '`urn:imid:error:<code>`' }),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String({ description: 'For people; never parse it.' }),
    code: Type.String({ enum: Object.keys(errorCodes), description: 'Stable.' }),
    errors: Type.Optional(
      Type.Array(
        Type.Object({
          in: Type.String({ enum: ['body', 'query', 'path', 'header'] }),
          pointer: Type.String({ description: 'A JSON pointer, RFC 6901 section 6.' }),
          detail: Type.String(),
        }),
      ),
    ),
  },
  {
    $id: 'Problem',
    description: 'RFC 9457.',
    examples: [
      {
        ...problemExample('invalid_request'),
        detail: 'name is missing.',
        errors: [{ in: 'body', pointer: '#/name', detail: 'is missing' }],
      },
    ],
  },
);

export const sharedShapes = [Address, Party, Message, PushText, ItemError, Problem] as const;

/** A reference to a shared shape, with its type. */
export function ref<T extends TSchema>(shape: T & { $id?: string }) {
  return Type.Unsafe<Static<T>>({ $ref: `${shape.$id}#` });
}

export function list<T extends TSchema & { examples?: unknown[] }>(
  item: T,
  more: Record<string, TSchema> = {},
) {
  return Type.Object(
    {
      items: Type.Array(item),
      nextCursor: Type.Optional(Type.String({ description: 'Absent at the end.' })),
      ...more,
    },
    { examples: [{ items: item.examples ?? [] }] },
  );
}

/** Who is asked for a credential has quotas, and a body may come too slowly. */
const COMPANIONS: Partial<Record<ErrorCode, ErrorCode>> = {
  unauthorized: 'rate_limited',
  payload_too_large: 'request_timeout',
};

/** The `response` schemas of the errors an operation may answer, and of those that come with them, one per status. */
export function problems(...codes: ErrorCode[]): Record<number, TSchema> {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of new Set(codes.flatMap((each) => [each, COMPANIONS[each] ?? each]))) {
    const { status } = errorCodes[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, ofStatus]) => [status, problemResponse(status, ofStatus)]),
  );
}

/** As `problems`, of a route about an app: what each of them may answer, and more. */
export function backendProblems(...more: ErrorCode[]): Record<number, TSchema> {
  return problems('invalid_request', 'unauthorized', 'forbidden', 'not_found', ...more, 'unavailable');
}

const RETRY_AFTER = { 'Retry-After': { type: 'integer', description: 'In seconds.' } };
const PROBLEM_HEADERS: Record<number, object> = {
  401: { 'WWW-Authenticate': { type: 'string', description: 'The challenge of RFC 6750.' } },
  429: RETRY_AFTER,
  503: RETRY_AFTER,
};

function problemResponse(status: number, codes: ErrorCode[]) {
  return Type.Unsafe<Static<typeof Problem>>({
    description: codes.map((each) => `\`${each}\`: ${errorCodes[each].title}`).join('; '),
    ...(status in PROBLEM_HEADERS && { headers: PROBLEM_HEADERS[status] }),
    content: {
      'application/problem+json': {
        schema: { $ref: 'Problem#' },
        ...(codes.length === 1
          ? { example: problemExample(codes[0]!) }
          : { examples: Object.fromEntries(codes.map((each) => [each, { value: problemExample(each) }])) }),
      },
    },
  });
}

function problemExample(code: ErrorCode) {
  const { status, title } = errorCodes[code];
  return { type: `urn:imid:error:${code}`, title, status, detail: `${title}.`, code };
}
