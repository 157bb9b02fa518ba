// The two schemes as a table of two entries, and the rules by which an address is read. Pure, no I/O.

import { ImidError } from '../errors.ts';
import {
  composeImId,
  parseImId,
  type AppId,
  type ImId,
  type Name,
  type RegisteredId,
  type Scheme,
} from '../ids.ts';

/** How someone names a user: exactly one of the three. */
export interface Address {
  uid?: string | undefined;
  userId?: string | undefined;
  imId?: string | undefined;
}

/** What reading an address needs to know of its app. */
export interface AppSchemes {
  readonly id: AppId;
  readonly schemes: readonly Scheme[];
  /** A uid may stand for another user, one it was merged into. */
  readonly hasAliases: boolean;
}

/** Whom an address means: whoever has the name (registered or not, or registered only), or one imId. */
export type Target = { by: 'name'; name: Name; registeredOnly: boolean } | { by: 'imId'; imId: RegisteredId };

/** What a user is called, whichever scheme reaches it. */
export interface Called {
  readonly name: Name;
  readonly imId: RegisteredId | undefined;
}

/** The form in which a client is shown a user. */
export type Shown = { uid: Name } | { imId: ImId } | { erased: true } | { system: true };

/** Of the user in whose name an app itself sends: no uid or userId is empty. */
export const SYSTEM_NAME = '' as Name;

interface SchemeEntry {
  /** How a client with a token of this scheme is shown another user. */
  show(appId: AppId, user: Called): Shown;
  /** What a client with a token of this scheme is told it is itself. */
  me(appId: AppId, user: Called): { scheme: Scheme; uid?: Name; imId?: ImId };
}

export const schemes: Record<Scheme, SchemeEntry> = {
  composed: {
    show: (_appId, user) => ({ uid: user.name }),
    me: (_appId, user) => ({ scheme: 'composed', uid: user.name }),
  },
  registered: {
    show: (appId, user) => ({ imId: user.imId ?? composeImId(appId, user.name) }),
    me: (appId, user) => ({ scheme: 'registered', imId: user.imId ?? composeImId(appId, user.name) }),
  },
};

/** A user, or undefined for an erased one, as a viewer of the scheme sees it. */
export function show(viewer: Scheme, appId: AppId, user: Called | undefined): Shown {
  if (user?.name === SYSTEM_NAME) return { system: true };
  return user ? schemes[viewer].show(appId, user) : { erased: true };
}

/** Every form that is known of a user, as backends are shown it. */
export type Described = { imId: ImId; scheme: Scheme; uid?: Name; userId?: Name };

export function describe(app: AppSchemes, user: Called): Described {
  if (user.imId !== undefined && app.schemes.includes('registered'))
    return { imId: user.imId, scheme: 'registered', userId: user.name };
  return { imId: composeImId(app.id, user.name), scheme: 'composed', uid: user.name };
}

/**
 * Reads a well-formed address in the light of the app's schemes.
 * Throws `scheme_disabled`, and `not_found` for an imId of another app, which is like one that doesn't exist.
 */
export function readAddress(app: AppSchemes, address: Address): Target {
  if (address.uid !== undefined) {
    requireScheme(app, 'composed');
    return { by: 'name', name: address.uid as Name, registeredOnly: false };
  }
  if (address.userId !== undefined) {
    requireScheme(app, 'registered');
    return { by: 'name', name: address.userId as Name, registeredOnly: true };
  }
  const parsed = parseImId(address.imId ?? '');
  if (!parsed)
    throw new ImidError('invalid_request', 'The address names nobody: give one of uid, userId, imId.');
  requireScheme(app, parsed.scheme);
  if (parsed.scheme === 'registered') return { by: 'imId', imId: parsed.imId };
  if (parsed.appId !== app.id) throw nobody();
  return { by: 'name', name: parsed.uid, registeredOnly: false };
}

/** Whether a user is meant by its own name or imId, not by one that it got by a merger. */
export function isOwn(user: Called, target: Target): boolean {
  return target.by === 'name' ? user.name === target.name : user.imId === target.imId;
}

/** The scheme that an address is of, and so a token issued for it. */
export function schemeOfAddress(address: Address): Scheme {
  if (address.uid !== undefined) return 'composed';
  if (address.userId !== undefined) return 'registered';
  return parseImId(address.imId ?? '')?.scheme ?? 'registered';
}

export function requireScheme(app: AppSchemes, scheme: Scheme): void {
  if (!app.schemes.includes(scheme))
    throw new ImidError('scheme_disabled', `This app does not use the ${scheme} scheme.`);
}

export function nobody(): ImidError {
  return new ImidError('not_found', 'Nobody in this app has this address.');
}
