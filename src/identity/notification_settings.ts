// What users want to be told of by push: quiet hours, do-not-disturb, whom they have muted.

import type { AppId } from '../ids.ts';
import type { Database } from '../store/database.ts';
import {
  findNotificationSettings,
  replaceNotificationSettings,
  type NotificationSettings as Settings,
} from '../store/notification_settings.ts';
import type { User } from './directory.ts';
import { nobody } from './schemes.ts';

export type NotificationSettings = ReturnType<typeof createNotificationSettings>;
export type { Settings };

export function createNotificationSettings({ kysely }: Database) {
  return {
    find: (appId: AppId, userId: number): Promise<Settings<User>> =>
      findNotificationSettings(kysely, appId, userId),

    /** Throws `not_found` when the user is gone. */
    async replace(appId: AppId, userId: number, settings: Settings<number>): Promise<void> {
      if (!(await replaceNotificationSettings(kysely, appId, userId, settings))) throw nobody();
    },
  };
}
