// What registering is asked for and what it answers; and the rounds in which many are registered. Pure, no I/O.

import { ImidError } from '../errors.ts';
import type { Name, RegisteredId } from '../ids.ts';
import type { User } from '../store/identities.ts';

/** What registering did: made a new user, took over one that was composed, or found it registered. */
export interface Registered {
  user: User & { readonly imId: RegisteredId };
  /** Of a user that was there, it is to be looked up. */
  createdAt?: Date | undefined;
  status: 'created' | 'adopted' | 'existing';
}

export interface Registration {
  userId: Name;
  /** What to do where the userId is in use as a uid: take that user over, or refuse; `{uid}` takes that one over. */
  adopt: boolean | { uid: Name };
  /** Brought along from elsewhere; else a fresh one is minted. */
  imId?: RegisteredId | undefined;
  createdAt?: Date | undefined;
}

/** A registration that adopts a user who is in use under another uid. */
export interface Adoption {
  uid: Name;
  userId: Name;
  imId: RegisteredId;
}

/** Registrations whose order doesn't matter: none has to do with a name or an imId of another's. */
interface Round {
  /** With its place, and those of the ones that say the same again. */
  plain: { registration: Registration; places: number[] }[];
  adoptions: { adoption: Adoption; place: number }[];
}

/** How many users may be adopted in one transaction, which keeps messages to them waiting. */
const ADOPTIONS_MAX = 500;

/** Takes registrations in order apart into rounds that come to the same. */
export function* toRounds(wanted: readonly Registration[], mint: () => RegisteredId): Generator<Round> {
  let round: Round = { plain: [], adoptions: [] };
  let byUserId = new Map<Name, Round['plain'][number]>();
  let touched = new Set<Name | RegisteredId>();
  for (const [place, registration] of wanted.entries()) {
    const { userId, imId } = registration;
    const uid = adoptedUid(registration);
    const before = uid === undefined ? byUserId.get(userId) : undefined;
    if (before && isSame(before.registration, registration)) {
      before.places.push(place);
      continue;
    }
    const touches = [userId, uid, imId].filter((name) => name !== undefined);
    if (touches.some((name) => touched.has(name)) || round.adoptions.length === ADOPTIONS_MAX) {
      yield round;
      round = { plain: [], adoptions: [] };
      byUserId = new Map();
      touched = new Set();
    }
    for (const name of touches) touched.add(name);
    if (uid !== undefined) round.adoptions.push({ adoption: { uid, userId, imId: imId ?? mint() }, place });
    else {
      const plain = { registration, places: [place] };
      round.plain.push(plain);
      byUserId.set(userId, plain);
    }
  }
  yield round;
}

/** The uid under which the user to adopt is known, where that isn't the userId. */
export function adoptedUid({ userId, adopt }: Registration): Name | undefined {
  return typeof adopt === 'object' && adopt.uid !== userId ? adopt.uid : undefined;
}

/** Whether the second, right behind the first, does nothing but find what that did. */
function isSame(first: Registration, second: Registration): boolean {
  return first.imId === second.imId && (first.adopt === false) === (second.adopt === false);
}

/** What the same again comes to. */
export function again(registered: Registered | ImidError): Registered | ImidError {
  return registered instanceof ImidError ? registered : { ...registered, status: 'existing' };
}
