// The five Android vendors side by side: each with its stand-in, its credentials, and a time that tests move on.

import { createOutbound, type Outbound } from '../../src/outbound.ts';
import type { Provider } from '../../src/push/contract.ts';
import type { GoneFeed } from '../../src/push/gone_feed.ts';
import { createHonor } from '../../src/push/honor.ts';
import { createHuawei } from '../../src/push/huawei.ts';
import { createOppo } from '../../src/push/oppo.ts';
import { createVivo } from '../../src/push/vivo.ts';
import { createXiaomi } from '../../src/push/xiaomi.ts';
import { honor, honorCredentials } from './honor_stand_in.ts';
import type { Running } from './http_stand_in.ts';
import { huawei, huaweiCredentials } from './huawei_stand_in.ts';
import { createOppoVendor, oppoCredentials } from './oppo_stand_in.ts';
import { startVendor, target, type Vendor } from './vendor_stand_in.ts';
import { vivo, vivoCredentials } from './vivo_stand_in.ts';
import { createXiaomiVendor, xiaomiCredentials } from './xiaomi_stand_in.ts';

interface Options {
  now(): Date;
  outbound: Outbound;
  timeoutMs: number;
  endpoint: string;
}

interface Entry {
  vendor(dead: string[]): Vendor;
  create(options: Options, changes: object): Provider & Partial<GoneFeed>;
  refusesSilent?: boolean;
}

const byUrl = (options: Options, path: string) => ({ ...options, tokenEndpoint: options.endpoint + path });
const byFeed = (options: Options) => ({ ...options, feedEndpoint: options.endpoint });

export const vendors = {
  Huawei: {
    vendor: () => huawei,
    create: (options, changes) =>
      createHuawei({ ...huaweiCredentials, ...changes }, byUrl(options, '/oauth2/v3/token')),
  },
  Honor: {
    vendor: () => honor,
    create: (options, changes) =>
      createHonor({ ...honorCredentials, ...changes }, byUrl(options, '/auth/token')),
  },
  Xiaomi: {
    vendor: createXiaomiVendor,
    create: (options, changes) => createXiaomi({ ...xiaomiCredentials, ...changes }, byFeed(options)),
  },
  OPPO: {
    vendor: createOppoVendor,
    create: (options, changes) => createOppo({ ...oppoCredentials, ...changes }, byFeed(options)),
    refusesSilent: true,
  },
  vivo: {
    vendor: () => vivo,
    create: (options, changes) => createVivo({ ...vivoCredentials, ...changes }, options),
    refusesSilent: true,
  },
} satisfies Record<string, Entry>;
export type VendorName = keyof typeof vendors;
export const names = Object.keys(vendors) as VendorName[];

export async function setUp(t: Running, name: VendorName, changes: object = {}, dead: string[] = []) {
  const { vendor, create, refusesSilent }: Entry = vendors[name];
  let now = new Date();
  const standIn = await startVendor(t, vendor(dead), () => now);
  const outbound = createOutbound({ allowPrivate: true, keepAliveMs: 5_000 });
  const options = { now: () => now, outbound, timeoutMs: 400, endpoint: standIn.url };
  const provider = create(options, changes);
  t.after(() => {
    outbound.close();
    void provider.close();
  });
  return {
    ...standIn,
    provider,
    target,
    refusesSilent,
    now: () => now,
    setNow: (time: Date | number) => void (now = new Date(time)),
  };
}
