// What the webhook of an app is sent of an event: its users as backends are shown them, by what they are called now. Pure.

import { describe, SYSTEM_NAME, type AppSchemes } from '../identity/schemes.ts';
import type { User } from '../store/identities.ts';
import type { WebhookEvent } from '../store/webhook_events.ts';

export function writeEvent(app: AppSchemes, { type, at, user, sender, data }: WebhookEvent): string {
  const users =
    type === 'message.offline'
      ? { from: called(app, sender), to: called(app, user) }
      : { user: called(app, user) };
  return JSON.stringify({ type, timestamp: at, data: { ...users, ...(JSON.parse(data) as object) } });
}

/** As backends are shown users. */
function called(app: AppSchemes, user: User | undefined) {
  if (!user) return { erased: true };
  if (user.name === SYSTEM_NAME) return { system: true };
  const { scheme: _scheme, ...forms } = describe(app, user);
  return forms;
}
