// What FCM takes, as far as we send it: any other field is refused, as it refuses what it doesn't know.

import { Ajv } from 'ajv';
import { Type, type TObject, type TProperties } from 'typebox';

const strict = <T extends TProperties>(properties: T): TObject<T> =>
  Type.Object(properties, { additionalProperties: false });
const texts = (pattern: string) => Type.Record(Type.String({ pattern }), Type.String());
const maybe = { title: Type.Optional(Type.String()), body: Type.Optional(Type.String()) };
const Message = strict({
  token: Type.Optional(Type.String({ minLength: 1 })),
  topic: Type.Optional(Type.String({ pattern: '^[a-zA-Z0-9-_.~%]+$' })),
  data: Type.Optional(texts('^(?!from$|message_type$|google\\.|gcm\\.notification\\.)')),
  notification: Type.Optional(strict({ ...maybe, image: Type.Optional(Type.String()) })),
  android: Type.Optional(
    strict({
      collapse_key: Type.Optional(Type.String()),
      priority: Type.Optional(Type.Enum(['HIGH', 'NORMAL'])),
      ttl: Type.Optional(Type.String({ pattern: '^\\d+(\\.\\d{1,9})?s$' })),
      notification: Type.Optional(
        strict({
          ...maybe,
          tag: Type.Optional(Type.String()),
          notification_count: Type.Optional(Type.Integer({ minimum: 0 })),
        }),
      ),
    }),
  ),
  apns: Type.Optional(
    strict({
      headers: Type.Optional(texts('^apns-(push-type|priority|expiration|collapse-id)$')),
      payload: Type.Object({
        aps: strict({
          badge: Type.Optional(Type.Integer({ minimum: 0 })),
          sound: Type.Optional(Type.String()),
          'content-available': Type.Optional(Type.Literal(1)),
        }),
      }),
    }),
  ),
  webpush: Type.Optional(
    strict({
      headers: Type.Optional(texts('^(TTL|Urgency|Topic)$')),
      notification: Type.Optional(strict({ ...maybe, tag: Type.Optional(Type.String()) })),
    }),
  ),
});
export const isFcmRequest = new Ajv({ strict: false }).compile<any>(
  strict({ validate_only: Type.Optional(Type.Boolean()), message: Message }),
);
