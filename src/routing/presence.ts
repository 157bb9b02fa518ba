// Who is online, on all processes: what this one knows by itself, and what the others have written down, and whether it is shown.

import type { AppId, Scheme } from '../ids.ts';
import type { User } from '../identity/directory.ts';
import { countConnections, findConnections } from '../store/connections.ts';
import type { Database } from '../store/database.ts';
import { findDevices } from '../store/devices.ts';
import { findHidesPresence, setHidesPresence } from '../store/presence.ts';
import type { ConnectionState } from './frames.ts';
import type { Hub } from './hub.ts';

export interface Presence {
  online: boolean;
  foreground: boolean;
  devices: { deviceId: string; connected: boolean; state?: ConnectionState; lastSeenAt?: Date }[];
  lastSeenAt?: Date;
}

export interface PresenceOptions {
  database: Database;
  hub: Hub;
  processId: string;
  /** Tells those who watch a user. */
  watching: { moved(appId: AppId, id: number): void };
}

export function createPresence({ database: { kysely, clock }, hub, processId, watching }: PresenceOptions) {
  return {
    async of(appId: AppId, users: readonly User[]): Promise<Presence[]> {
      const ids = users.map((user) => user.id);
      const [stored, elsewhere] = await Promise.all([
        findDevices(kysely, appId, ids),
        findConnections(kysely, appId, ids, processId),
      ]);
      return users.map(({ id }) => {
        const connected = new Map<string, ConnectionState>();
        for (const { identityId, deviceId, isForeground } of elsewhere)
          if (identityId === id) connected.set(deviceId, isForeground ? 'foreground' : 'background');
        for (const { deviceId, state } of hub.of(id)) connected.set(deviceId, state);
        const devices: Presence['devices'] = Array.from(connected, ([deviceId, state]) => ({
          deviceId,
          connected: true,
          state,
        }));
        for (const device of stored.get(id)?.devices ?? [])
          if (!connected.has(device.id))
            devices.push({ deviceId: device.id, connected: false, lastSeenAt: device.lastSeenAt });
        const lastSeenAt = connected.size > 0 ? clock.now() : stored.get(id)?.lastSeenAt;
        return {
          online: connected.size > 0,
          foreground: [...connected.values()].includes('foreground'),
          devices,
          ...(lastSeenAt ? { lastSeenAt } : {}),
        };
      });
    },

    isShown: async (appId: AppId, identityId: number): Promise<boolean> =>
      !(await findHidesPresence(kysely, appId, identityId)),

    /** Whether others may see a user online from now on. */
    async show(appId: AppId, identityId: number, isShown: boolean): Promise<void> {
      await setHidesPresence(kysely, appId, identityId, !isShown);
      watching.moved(appId, identityId);
    },

    /** How many connections of an app there are. */
    async count(appId: AppId): Promise<Record<Scheme, number>> {
      const here = hub.count(appId);
      const elsewhere = await countConnections(kysely, appId, processId);
      return {
        composed: here.composed + elsewhere.composed,
        registered: here.registered + elsewhere.registered,
      };
    },
  };
}
