// A notification as the form that Xiaomi wants, and what an app needs there.

import { hash } from 'node:crypto';
import { Type, type Static } from 'typebox';
import type { Notification, Target } from './contract.ts';
import { isShown } from './fitting.ts';
import { AppName, notifyIdOf, shorten, wordsOf } from './vendor_words.ts';

export const XiaomiCredentials = Type.Object(
  {
    appSecret: Type.String({ pattern: '^[\\x21-\\x7e]{1,200}$' }),
    packageName: Type.String({ pattern: '^\\w+(\\.\\w+)+$', maxLength: 200 }),
    appName: AppName,
    channelId: Type.Optional(
      Type.String({
        pattern: '^[\\x21-\\x7e]{1,100}$',
        description:
          'Of the channel that Xiaomi has granted for conversations. Without one they are marketing: few a day.',
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
export type XiaomiCredentials = Static<typeof XiaomiCredentials>;

/** Fewer than 50, and fewer than 128. */
const TITLE_MAX_LENGTH = 49;
const BODY_MAX_LENGTH = 127;
const TTL_MAX_SECONDS = 1_209_600;
const JOB_KEY_LENGTH = 12;
const EVERYTHING = '-1';

export function xiaomiForm(
  notification: Notification,
  { token }: Target,
  { packageName, appName, channelId }: XiaomiCredentials,
): URLSearchParams {
  const form = new URLSearchParams({
    registration_id: token,
    restricted_package_name: packageName,
    payload: JSON.stringify(notification.data),
    pass_through: '1',
    'extra.jobkey': hash('sha256', `${notification.isSilent} ${notification.id}`).slice(0, JOB_KEY_LENGTH),
  });
  if (notification.ttlSeconds > 0)
    form.set('time_to_live', String(Math.min(notification.ttlSeconds, TTL_MAX_SECONDS) * 1_000));
  else form.set('extra.only_send_once', '1');
  if (!isShown(notification)) return form;
  const { title, body } = wordsOf(notification, appName);
  form.set('pass_through', '0');
  form.set('title', shorten(title, TITLE_MAX_LENGTH));
  form.set('description', shorten(body, BODY_MAX_LENGTH));
  form.set('notify_type', EVERYTHING);
  form.set('notify_id', String(notifyIdOf(notification)));
  form.set('extra.notify_effect', '1');
  if (channelId) form.set('extra.channel_id', channelId);
  return form;
}
