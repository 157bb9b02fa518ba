// The devices of users, and what they are bound to at the providers of push.

import { ImidError } from '../errors.ts';
import type { AppId } from '../ids.ts';
import {
  bindDevice,
  findBoundDevices,
  forgetDevice,
  type Binding,
  type BindingToken,
  type BoundDevice,
} from '../store/bindings.ts';
import type { Database } from '../store/database.ts';
import { nobody } from './schemes.ts';

export type { BoundDevice } from '../store/bindings.ts';

export type Devices = ReturnType<typeof createDevices>;

export function createDevices({ kysely }: Database) {
  return {
    /** Throws `not_found` when the user is gone, and `token_revoked`. */
    async bind(
      appId: AppId,
      userId: number,
      binding: Binding & { deviceId: string; by: BindingToken },
    ): Promise<BoundDevice> {
      if (!(await bindDevice(kysely, appId, userId, binding))) throw nobody();
      const bound = await findBoundDevices(kysely, appId, userId);
      return bound.find(({ id }) => id === binding.deviceId)!;
    },

    /** Throws `not_found`. */
    async forget(appId: AppId, userId: number, deviceId: string): Promise<void> {
      if (!(await forgetDevice(kysely, appId, userId, deviceId)))
        throw new ImidError('not_found', 'There is no such device.');
    },

    list: (appId: AppId, userId: number): Promise<BoundDevice[]> => findBoundDevices(kysely, appId, userId),
  };
}
