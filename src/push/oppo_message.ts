// A notification in the words of OPPO, and what an app needs there.

import { Type, type Static } from 'typebox';
import type { Notification, Target } from './contract.ts';
import { AppName, notifyIdOf, shorten, wordsOf } from './vendor_words.ts';

export const OppoCredentials = Type.Object(
  {
    appKey: Type.String({ pattern: '^[\\x21-\\x7e]{1,100}$' }),
    masterSecret: Type.String({
      pattern: '^[\\x21-\\x7e]{1,100}$',
      description: 'Not the app secret, which devices use.',
    }),
    appName: AppName,
    channelId: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
    category: Type.Optional(
      Type.String({
        pattern: '^[A-Z_]{1,30}$',
        description: 'What OPPO has granted the app, such as IM. Without one it is marketing: few a day.',
      }),
    ),
    region: Type.Optional(
      Type.Union([Type.Literal('china'), Type.Literal('global')], {
        default: 'china',
        description: 'Where the app runs: tokens of one region are none in the other.',
      }),
    ),
  },
  { additionalProperties: false },
);
export type OppoCredentials = Static<typeof OppoCredentials>;

const TITLE_MAX_LENGTH = 50;
const SHORT_BODY_MAX_LENGTH = 50;
const LONG_BODY_MAX_LENGTH = 128;
const TTL_MAX_SECONDS = 864_000;
const BY_TOKEN = 2;
const LOUDEST = 16;

export function oppoMessage(
  notification: Notification,
  { token }: Target,
  { appName, channelId, category }: OppoCredentials,
): object {
  const { title, body } = wordsOf(notification, appName);
  const isLong = body.length > SHORT_BODY_MAX_LENGTH;
  const ttlSeconds = Math.min(notification.ttlSeconds, TTL_MAX_SECONDS);
  return {
    target_type: BY_TOKEN,
    target_value: token,
    notification: {
      app_message_id: notification.id,
      style: isLong ? 2 : 1,
      title: shorten(title, TITLE_MAX_LENGTH),
      content: shorten(body, LONG_BODY_MAX_LENGTH),
      click_action_type: 0,
      action_parameters: JSON.stringify(notification.data),
      off_line: ttlSeconds > 0,
      off_line_ttl: ttlSeconds > 0 ? ttlSeconds : undefined,
      channel_id: channelId,
      category,
      notify_level: category ? LOUDEST : undefined,
      notify_id: notifyIdOf(notification),
    },
  };
}
