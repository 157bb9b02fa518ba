// Apps as everything else sees them: read often, changed rarely. A change made on another process is seen within
// a second, one made here at once.

import { ImidError } from '../errors.ts';
import type { AppId } from '../ids.ts';
import { deleteApp, findApp, findApps, insertApp, updateApp, updateCheckedApp } from '../store/apps.ts';
import type { App, AppSettings } from '../store/apps.ts';
import type { Database } from '../store/database.ts';
import { createFresh } from '../store/fresh.ts';

export type { App } from '../store/apps.ts';
export type { PushTemplates } from '../store/push_templates.ts';

const MAX_AGE_MS = 1_000;

export type Apps = ReturnType<typeof createApps>;

export interface AppsOptions {
  database: Database;
  /** Told of what this process has changed. */
  onChange: (id: AppId) => void;
}

export function createApps({ database: { kysely }, onChange }: AppsOptions) {
  const fresh = createFresh(MAX_AGE_MS, (id: AppId) => findApp(kysely, id));

  function forget(id: AppId): void {
    fresh.forget(id);
    onChange(id);
  }

  return {
    uses: fresh.uses,

    find: (id: AppId): Promise<App | undefined> => fresh.get(id),

    /** Throws `not_found`. */
    async resolve(id: AppId): Promise<App> {
      const app = await fresh.get(id);
      if (!app) throw noSuchApp();
      return app;
    },

    /** As `find`, where that is known without asking. */
    peek: (id: AppId): App | undefined => fresh.peek(id),

    /** To be called when this process has changed something of the app otherwise. */
    forget,

    /** To be called when another process has changed something of the app. */
    hear: (id: AppId): void => fresh.forget(id),

    create: (app: AppSettings): Promise<App> => insertApp(kysely, app),

    list: (afterId: number, limit: number): Promise<App[]> => findApps(kysely, afterId, limit),

    /** Throws `not_found`, and what `check` throws of the app as it is when it is changed. */
    async change(id: AppId, change: Partial<AppSettings>, check?: (app: App) => void): Promise<App> {
      const app = check
        ? await updateCheckedApp(kysely, id, change, check)
        : await updateApp(kysely, id, change);
      forget(id);
      if (!app) throw noSuchApp();
      return app;
    },

    /** Deletes the app with everything in it. Throws `not_found`. */
    async remove(id: AppId): Promise<void> {
      const found = await deleteApp(kysely, id);
      forget(id);
      if (!found) throw noSuchApp();
    },
  };
}

function noSuchApp(): ImidError {
  return new ImidError('not_found', 'There is no such app.');
}
