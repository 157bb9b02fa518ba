// A notification in the words of FCM, for whichever of Android, iOS and the web the token is of.

import { hash } from 'node:crypto';
import type { Notification } from './contract.ts';
import { isShown, writeWithin } from './fitting.ts';

const MESSAGE_MAX_BYTES = 4_096;
const TTL_MAX_SECONDS = 2_419_200;
/** So many FCM keeps for a device that is away; of more, any. */
const COLLAPSE_KEYS = 4;
const APNS_COLLAPSE_ID = /^[\w-]{1,64}$/;

/** The body of the request. */
export function writeFcmSend(notification: Notification, token: string, now: Date): string {
  return writeWithin(MESSAGE_MAX_BYTES + token.length, notification, (fitted) =>
    JSON.stringify({ message: { token, ...messageOf(fitted, now) } }),
  );
}

function messageOf(notification: Notification, now: Date): object {
  const { title, body, data, badge, isSilent } = notification;
  const shown = isShown(notification);
  // Be it only the number on the app's icon: Apple calls nothing background that people see.
  const isSeen = shown || badge !== undefined;
  const isUrgent = notification.priority === 'high' && !isSilent;
  const ttlSeconds = Math.min(notification.ttlSeconds, TTL_MAX_SECONDS);
  const tag = notification.collapseId ?? notification.id;
  return {
    data,
    notification: shown ? { title, body } : undefined,
    android: {
      priority: isUrgent ? 'HIGH' : 'NORMAL',
      ttl: `${ttlSeconds}s`,
      // Of what is shown FCM ignores it: what takes whose place says the tag. Nor may it drop what the app shows by itself.
      collapse_key: isSilent && notification.collapseId ? collapseKey(notification.collapseId) : undefined,
      notification: shown ? { tag, notification_count: badge } : undefined,
    },
    apns: {
      headers: {
        'apns-push-type': isSeen ? 'alert' : 'background',
        'apns-priority': shown && isUrgent ? '10' : '5',
        'apns-expiration': String(ttlSeconds && Math.floor(now.getTime() / 1_000) + ttlSeconds),
        'apns-collapse-id': APNS_COLLAPSE_ID.test(tag) ? tag : undefined,
      },
      payload: {
        aps: {
          badge,
          sound: shown && isUrgent ? 'default' : undefined,
          'content-available': shown ? undefined : 1,
        },
      },
    },
    webpush: {
      headers: { TTL: String(ttlSeconds), Urgency: isUrgent ? 'high' : 'normal' },
      notification: shown ? { tag } : undefined,
    },
  };
}

function collapseKey(collapseId: string): string {
  return `imid_${hash('sha256', collapseId, 'buffer')[0]! % COLLAPSE_KEYS}`;
}
