// Messages of a former system, and how a batch of them is numbered in the inboxes that it joins. Pure, no I/O.

import { ImidError } from '../errors.ts';
import { deriveUuid, isUuidV7, makeUuidAt, timeOfUuid, UUIDS_IN_ORDER, type Name } from '../ids.ts';
import type { App } from '../identity/apps.ts';
import type { Found } from '../identity/directory.ts';
import { readAddress, type Address } from '../identity/schemes.ts';
import type { ImportedMessage, LockedInbox } from '../store/imported.ts';

/** A user, one that was erased, or the app itself. */
export type PastParty = Address | { erased: true } | { system: true };

export interface PastMessage {
  /** At least one of the two isn't erased. */
  from: PastParty;
  to: PastParty;
  /** The sender's own id of it, with the place in a list of recipients: what a repeat is known by. */
  id: string;
  part: number;
  /** JSON text. */
  content: string;
  at: Date;
}

/** One that has its id here. */
export interface NamedMessage extends PastMessage {
  readonly messageId: string;
}

/** A user's row; the name is there if it was found by one, and must still be its when storing. */
interface Row {
  readonly id: number;
  readonly expectedName: Name | undefined;
}

/** One whose users were found; undefined: erased. */
export interface PlacedMessage extends NamedMessage {
  readonly sender: Row | undefined;
  readonly recipient: Row | undefined | ImidError;
  /** The same for the same message of the same sender. */
  readonly key: string;
}

/** One that can be stored. */
export type SoundMessage = PlacedMessage & { readonly recipient: Row | undefined };

export function isAddress(party: PastParty): party is Address {
  return !('erased' in party) && !('system' in party);
}

export function isSound(message: PlacedMessage): message is SoundMessage {
  return !(message.recipient instanceof ImidError);
}

export function toRow(app: App, party: PastParty, user: Found | undefined): Row | undefined {
  if (user?.id === undefined) return undefined;
  const isByName = isAddress(party) && readAddress(app, party).by === 'name';
  return { id: user.id, expectedName: isByName ? user.name : undefined };
}

/**
 * Gives messages their ids: of their own times, rising where several of one millisecond follow one another. One whose
 * sender was erased is known by its id alone: it is always the same, and stays what it was where the message was exported.
 */
export function createNaming(): (message: PastMessage) => NamedMessage {
  let lastMs = Number.NaN;
  let place = 0;
  return (message) => {
    const { from, at } = message;
    if ('erased' in from) return { ...message, messageId: idOfErased(message) };
    place = at.getTime() === lastMs ? Math.min(place + 1, UUIDS_IN_ORDER - 1) : 0;
    lastMs = at.getTime();
    return { ...message, messageId: makeUuidAt(at, place) };
  };
}

/** By how much the time in an id may be off, which makes up for how ids are made. */
const ID_ERROR_MS = 1_000;

function idOfErased({ id, part, at }: PastMessage): string {
  const isOwn = part === 0 && isUuidV7(id) && Math.abs(timeOfUuid(id).getTime() - at.getTime()) < ID_ERROR_MS;
  return isOwn ? id : deriveUuid(at, `${part}:${id}`);
}

/** The rows of the inboxes that messages join. */
export function rowsOf(messages: readonly SoundMessage[]): number[] {
  const rows = messages.flatMap(({ sender, recipient }) => [sender, recipient]);
  return [...new Set(rows.flatMap((row) => row?.id ?? []))];
}

/**
 * Numbers messages behind what stands in their locked inboxes, and moves those on. Undefined where a user isn't what it was
 * taken for, or sends while messages are on their way into its inbox, since those may be the ones that are repeated.
 */
export function number(
  messages: readonly SoundMessage[],
  locked: ReadonlyMap<number, LockedInbox>,
): ImportedMessage[] | undefined {
  const next = (row: Row | undefined, mayBeMerging: boolean): number | undefined => {
    if (!row) return undefined;
    const inbox = locked.get(row.id);
    const isMeant = inbox && (row.expectedName === undefined || row.expectedName === inbox.name);
    if (!isMeant || (inbox.isMerging && !mayBeMerging)) return Number.NaN;
    return (inbox.lastSeq += 1);
  };
  const numbered = messages.map(({ messageId, sender, recipient, id, part, content, at }) => ({
    id: messageId,
    senderId: sender?.id,
    senderSeq: sender?.id === recipient?.id ? undefined : next(sender, false),
    recipientId: recipient?.id,
    recipientSeq: next(recipient, sender?.id !== recipient?.id),
    clientId: id,
    part,
    content,
    at,
  }));
  const isOff = numbered.some((each) => Number.isNaN(each.senderSeq) || Number.isNaN(each.recipientSeq));
  return isOff ? undefined : numbered;
}
