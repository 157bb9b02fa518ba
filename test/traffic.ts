// Traffic for as long as a test acts: users with open sockets on several processes, who send to each other in every form
// of address. It keeps what was sent, answered and shown, with what could hold meanwhile; test/arrivals.ts judges it.

import assert from 'node:assert/strict';
import type { Address } from '../src/identity/schemes.ts';
import type { Scheme } from '../src/ids.ts';
import { Facts } from './facts.ts';
import { eventually, type Client, type Json, type Service, type Tenant } from './harness.ts';

export interface User {
  /** Of a registered one, as soon as the test was told. */
  imId: string | undefined;
  /** The first one sends. Nobody is behind a name that was given up, but it may be sent to. */
  readonly devices: Device[];
}

export interface Device {
  readonly client: Client;
  readonly service: Service;
  /** Of its token: what it sends as, and in which form it is shown others. */
  readonly scheme: Facts<Scheme>;
  /** Every `message` and `sent`, with the schemes that it may be of, and the version of the names to come or that held. */
  readonly shown: { frame: Json; schemes: readonly Scheme[]; lastNames: number }[];
}

/** Who is called what, and has an imId. */
export type Names = ReadonlyMap<User, { name: string; isRegistered: boolean }>;

/** A message that was sent and answered. Its content is its place among all that were sent. */
export interface Send {
  readonly by: User;
  readonly device: Device;
  readonly address: Address;
  /** `sent` or `error`. */
  readonly answer: Json;
  /** What may have held at some time between the sending and the answer. */
  readonly schemes: readonly (readonly Scheme[])[];
  readonly senderSchemes: readonly Scheme[];
  readonly names: readonly Names[];
  /** The version of the names that held when it was sent. */
  readonly firstNames: number;
}

export interface TrafficOptions {
  app: Tenant;
  services: readonly [Service, Service];
  /** The one scheme that the app uses; the users are registered in it. */
  scheme: Scheme;
  users: readonly { name: string; imId?: string }[];
}

export type Traffic = Awaited<ReturnType<typeof openTraffic>>;

/** Connects the users, some with several devices on both services. */
export async function openTraffic(options: TrafficOptions) {
  const { app, services, scheme } = options;
  const schemes = new Map(services.map((service) => [service, new Facts<readonly Scheme[]>([scheme])]));
  const users: User[] = [];
  const names = new Facts<Names>(new Map());
  const sends: Send[] = [];
  let count = 0;

  for (const [place, { name, imId }] of options.users.entries()) {
    const user: User = { imId, devices: [] };
    const token = await app.token(imId === undefined ? { uid: name } : { imId });
    for (let i = 0; i < 1 + ((place + 1) % 3); i++)
      user.devices.push(
        await openDevice(services[(place + i) % 2]!, token, i < 2 ? `device-${i}` : undefined),
      );
    users.push(user);
  }
  names.versions[0] = new Map(
    users.map((user, i) => [user, { name: options.users[i]!.name, isRegistered: user.imId !== undefined }]),
  );

  async function openDevice(service: Service, token: string, id: string | undefined): Promise<Device> {
    const client = await service.connect(token, { after: 0, ...(id === undefined ? {} : { device: id }) });
    const device: Device = { client, service, scheme: new Facts(scheme), shown: [] };
    client.socket.on('message', () => {
      const frame = client.frames.at(-1);
      if (frame.type !== 'message' && frame.type !== 'sent') return;
      const { certain } = device.scheme;
      device.shown.push({ frame, schemes: device.scheme.since(certain), lastNames: names.latest });
    });
    return device;
  }

  /** The forms of address by turns, also those that are refused, of a name that holds for certain. */
  function addressOf(peer: User, turn: number): Address {
    const { name } = names.now.get(peer)!;
    const forms: Address[] = [{ uid: name }, { userId: name }, { imId: `${app.appId}:${name}` }];
    if (peer.imId !== undefined) forms.push({ imId: peer.imId });
    return forms[turn % forms.length]!;
  }

  async function send(by: User, device = by.devices[0]!): Promise<void> {
    const n = count++;
    const address = addressOf(
      users[(users.indexOf(by) + n) % users.length]!,
      n + Math.floor(n / users.length),
    );
    const ofService = schemes.get(device.service)!;
    const from = { schemes: ofService.certain, sender: device.scheme.certain, names: names.certain };
    const answer = await device.client.say(address, n, `m-${n}`);
    sends[n] = {
      by,
      device,
      address,
      answer,
      schemes: ofService.since(from.schemes),
      senderSchemes: device.scheme.since(from.sender),
      names: names.since(from.names),
      firstNames: from.names,
    };
  }

  const traffic = {
    app,
    users,
    names,
    sends,

    /** Acts in the middle of the traffic: everybody has sends under way when it begins, and goes on until it ends. */
    async during<T>(act: () => Promise<T>): Promise<T> {
      const over = new AbortController();
      const flowing = users.map(async (user) => {
        do await Promise.all([send(user), send(user)]);
        while (!over.signal.aborted);
      });
      const acting = act().finally(() => over.abort());
      const [result] = await Promise.all([acting, ...flowing]);
      return result;
    },

    /** Everybody sends at every look, until it holds. */
    until: (look: () => Promise<boolean>): Promise<boolean> =>
      eventually(async () => {
        const [holds] = await Promise.all([look(), ...users.map((user) => send(user))]);
        return holds;
      }),

    /** Changes what the app uses through the first service, and waits until the second has seen it. */
    async useSchemes(next: Scheme[], isSeen: () => Promise<boolean>): Promise<void> {
      const [first, second] = services.map((service) => schemes.get(service)!);
      for (const facts of [first!, second!]) facts.begin(next);
      await traffic.during(async () => {
        assert.equal((await app.call('PATCH', '', { schemes: next })).status, 200);
        first!.end();
      });
      await traffic.until(isSeen);
      second!.end();
    },

    /** Changes who is called what by one act; each name that nobody has any more is its next user's. */
    async changeNames(
      changes: ReadonlyMap<User, { name: string; isRegistered: boolean }>,
      act: () => Promise<void>,
    ): Promise<void> {
      const next = new Map([...names.now, ...changes]);
      const taken = new Set([...next.values()].map(({ name }) => name));
      for (const user of changes.keys()) {
        const { name } = names.now.get(user)!;
        if (!taken.has(name)) next.set({ imId: undefined, devices: [] }, { name, isRegistered: false });
      }
      names.begin(next);
      await traffic.during(async () => {
        await act();
        names.end();
      });
    },

    /** Hands a device a fresh token on its open socket; answers the code that it was refused with. */
    async renew(user: User, device: Device, next: Scheme, token: string): Promise<string | undefined> {
      const former = device.scheme.now;
      const seen = device.client.frames.length;
      device.scheme.begin(next);
      device.client.send({ type: 'token', token });
      await send(user, device); // frames take their turns: what answers this comes behind a refusal
      const refusal = device.client.frames
        .slice(seen)
        .find((frame) => frame.type === 'error' && frame.id === undefined);
      if (refusal) device.scheme.begin(former);
      device.scheme.end();
      return refusal?.code;
    },
  };
  return traffic;
}
