// One connection of one device: who is at it, and what it is told (what it asks for: asking.ts). Knows no socket, only a peer.
// Invariant: `sent` and `message` frames together show every seq behind the start once, in order (see delivery.ts).

import { randomUUID } from 'node:crypto';
import { asImidError, closeCodes, ImidError, type CloseReason } from '../errors.ts';
import type { AppId, Scheme } from '../ids.ts';
import type { App } from '../identity/apps.ts';
import type { User } from '../identity/directory.ts';
import { schemes } from '../identity/schemes.ts';
import { isWithheld, type Blocks } from '../store/blocks.ts';
import type { InboxEntry } from '../store/messages.ts';
import type { Claims } from '../tokens/tokens.ts';
import type { Acks } from './acks.ts';
import { Answers } from './answers.ts';
import type { FreshEntry } from './batch.ts';
import { findBeginning, type ConnectRequest } from './beginning.ts';
import type { Connections } from './connections.ts';
import { Delivery } from './delivery.ts';
import { Expiry } from './expiry.ts';
import type { ConnectionState } from './frames.ts';
import { errorFrame, messageFrame, skipFrame, welcomeFrame } from './frames.ts';
import type { Closer, Meters } from './meters.ts';
import type { Peer } from './peer.ts';
import { Turns } from './turns.ts';

/** A token that was checked, with the user it acts for now. */
export interface Admitted {
  app: App;
  user: User;
  claims: Claims;
}

/** What a session needs of the router it belongs to. */
export interface Routes {
  /** Identifies a run of an inbox's sequence numbers: with another one, they mean something else. */
  epochOf(identityId: number): string;
  readonly acks: Acks;
  readonly connections: Connections;
  readonly meters: Meters;
  now(): Date;
  /** The session has another token. Closes it where that was revoked while it was looked at. */
  changeToken(session: Session, formerJti: string): void;
  /** Moves the session to the user that its own was merged into, if it was; undefined when there is none any more. */
  follow(session: Session): Promise<User | undefined>;
  readInbox(appId: AppId, identityId: number, after: number, limit: number): Promise<InboxEntry[]>;
  blocksOf(appId: AppId, identityId: number): Promise<Blocks>;
  leave(session: Session): void;
  /** Logs what a client was told when it is not the client's doing. */
  note(error: ImidError, session: Session): void;
}

export class Session {
  readonly connectionId = randomUUID();
  readonly appId: AppId;
  /** The row of its user; another one once the user is merged. */
  identityId: number;
  /** All that it was, one after the other. */
  readonly identityIds: Set<number>;
  /** What the welcome calls the device. */
  readonly deviceId: string;
  readonly isAnonymous: boolean;
  /** When its newest token was issued: the connection with the newer one keeps the device. */
  tokenAt: Date;
  /** Of the token that counts now; decides how others are shown. */
  scheme: Scheme;
  state: ConnectionState;
  /** The order in which what it asks for is done. */
  readonly turns: Turns;
  /** What it is still to be told of that. */
  readonly answers: Answers;
  /** What is withheld of the inbox. */
  blocks: Blocks = { version: 0, all: [] };

  readonly #router: Routes;
  readonly #peer: Peer;
  readonly #request: ConnectRequest;
  readonly #delivery: Delivery;
  readonly #expiry: Expiry;
  #admitted: Admitted;
  #user: User;
  #isClosed = false;
  #isStopped = false;
  #isWelcome = false;
  /** Up to here it is shown all there is, so also what was brought along. */
  #wholeSeq = 0;

  constructor(router: Routes, peer: Peer, admitted: Admitted, request: ConnectRequest) {
    this.#router = router;
    this.#peer = peer;
    this.#request = request;
    this.#admitted = admitted;
    this.appId = admitted.claims.appId;
    this.identityId = admitted.user.id;
    this.identityIds = new Set([admitted.user.id]);
    this.#user = admitted.user;
    this.scheme = admitted.claims.scheme;
    this.tokenAt = admitted.claims.issuedAt;
    this.isAnonymous = request.deviceId === undefined;
    this.deviceId = request.deviceId ?? `connection-${this.connectionId}`;
    this.state = request.state;
    this.turns = new Turns(peer);
    this.#expiry = new Expiry(
      () => router.now(),
      () => this.close('tokenExpired'),
    );
    this.#delivery = new Delivery({
      peer,
      read: (after, limit) => this.#read(after, limit),
      show: (entry) => this.#show(entry),
      skip: (seq) => this.#peer.send(skipFrame(seq)),
      onStalled: () => this.close('tooSlow'),
      onError: (error) => router.note(asImidError(error), this),
    });
    this.answers = new Answers(peer, this.#delivery);
  }

  /** What the token says that counts now. */
  get claims(): Claims {
    return this.#admitted.claims;
  }

  get jti(): string {
    return this.#admitted.claims.jti;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether nothing more is taken from its client. */
  get isStopped(): boolean {
    return this.#isStopped || this.#isClosed;
  }

  /** Whether it can be told of anything now. */
  get isWelcome(): boolean {
    return this.#isWelcome && !this.#isClosed;
  }

  /** Says welcome and begins to deliver. The hub must know the session already, so that nothing slips between. */
  async start(): Promise<void> {
    const { run } = this.#delivery;
    const isChanged = (): boolean => this.#isClosed || run !== this.#delivery.run;
    if (!this.isAnonymous) await this.#router.acks.settle(this.identityId, this.deviceId);
    if (isChanged()) return;
    const standing = await this.#router.connections.open(this);
    if (isChanged()) return;
    if (!standing) {
      const user = await this.#router.follow(this);
      // Merged meanwhile, it was moved and starts anew.
      if (user === undefined || !isChanged()) this.close('tokenRevoked');
      return;
    }
    if (!standing.isHeld) return this.close('replaced');
    // A user who was merged has what was revoked of the other one, too.
    if (standing.tokensFrom && this.claims.issuedAt < standing.tokensFrom) return this.close('tokenRevoked');
    this.blocks = standing.blocks;
    const epoch = this.#router.epochOf(this.identityId);
    const { lastSeq } = standing;
    const isSameRun = run === 0 && (this.#request.epoch === undefined || this.#request.epoch === epoch);
    const { outcome, cursor, acked, isWhole } = findBeginning(this.#request, standing, isSameRun);
    this.#wholeSeq = isWhole ? lastSeq : standing.wholeSeq;
    if (isWhole && lastSeq > 0 && !this.isAnonymous) await this.#router.connections.markWhole(this, lastSeq);
    if (isChanged()) return;
    this.#router.meters.welcomed(outcome);
    this.#peer.send(
      welcomeFrame({
        connectionId: this.connectionId,
        me: schemes[this.scheme].me(this.appId, this.#user),
        device: this.deviceId,
        epoch,
        seq: lastSeq,
        acked,
        resumed: outcome === 'resumed',
      }),
    );
    this.#isWelcome = true;
    this.#expiry.watch(this.claims.expiresAt);
    this.#delivery.begin(cursor, lastSeq);
  }

  /**
   * Makes this a connection of the user that its own was merged into; it is to be started again, with a second welcome.
   * Its seqs begin anew.
   */
  moveTo(user: User): void {
    this.identityId = user.id;
    this.identityIds.add(user.id);
    this.#user = user;
    this.#isWelcome = false;
    this.blocks = { version: 0, all: [] };
    this.#delivery.changeInbox();
    // What was sent before is on its way to the inbox before, or from there to this one.
    this.turns.settleFirst();
  }

  /** A message that has just been committed to this inbox. */
  onEntry(entry: FreshEntry): void {
    if (entry.blocksVersion === this.blocks.version) this.#delivery.offer(entry);
    else this.#delivery.reach(entry.seq);
  }

  /** The inbox reaches up to `seq`. */
  onPosition(seq: number): void {
    this.#delivery.reach(seq);
  }

  /** Something has come into the inbox on another process. */
  onMoved(): void {
    this.#delivery.look();
  }

  /** The client has all that it was shown up to `seq`. */
  ack(seq: number): void {
    const { cursor } = this.#delivery;
    if (seq <= cursor) {
      this.#router.acks.mark(this, seq);
    } else if (!this.#delivery.hasShown(seq)) {
      this.fail(new ImidError('invalid_request', `seq is beyond ${cursor}, the last that was sent here.`));
    } // else one of the inbox before was on its way
  }

  changeState(state: ConnectionState): void {
    if (this.state === state) return;
    this.state = state;
    this.#router.connections.mark(this);
  }

  /** Goes on by another token of its user. */
  changeToken(admitted: Admitted): void {
    if (this.#isClosed) return;
    const { jti: formerJti } = this;
    this.#admitted = admitted;
    this.scheme = admitted.claims.scheme;
    if (admitted.claims.issuedAt > this.tokenAt) this.tokenAt = admitted.claims.issuedAt;
    this.#router.changeToken(this, formerJti);
    this.#router.connections.mark(this);
    this.#expiry.watch(this.claims.expiresAt);
  }

  /** Tells of something that stands in no inbox, in the form of the session's scheme. */
  tell(frame: (viewer: Scheme) => string): void {
    if (this.isWelcome) this.#peer.send(frame(this.scheme));
  }

  /** Tells the client of an error; an id says which of its sends it is about. */
  fail(error: ImidError, id?: string): void {
    if (this.#isClosed) return;
    this.#router.meters.failed(error.code);
    this.#peer.send(
      errorFrame({ ...(id === undefined ? {} : { id }), code: error.code, detail: error.message }),
    );
  }

  /** Takes nothing more from the client; what it sends now, it sends again where it connects next. */
  stop(): void {
    this.#isStopped = true;
    this.#peer.pause();
  }

  close(reason: CloseReason): void {
    if (this.#isClosed) return;
    this.#router.meters.closed(closeCodes[reason].code, 'service');
    this.#peer.close(reason);
    this.#end();
  }

  /** The connection has ended, with a code of RFC 6455, by whichever side. */
  onClosed(code: number, who: Closer): void {
    if (this.#isClosed) return;
    this.#router.meters.closed(code, who);
    this.#end();
  }

  #end(): void {
    this.#isClosed = true;
    this.#delivery.end();
    this.#expiry.stop();
    this.#router.leave(this);
  }

  #show(entry: FreshEntry): void {
    const isAnswer = entry.senderId === this.identityId && this.answers.show(entry);
    if (!isAnswer && this.#isHidden(entry)) this.#peer.send(skipFrame(entry.seq));
    else if (!isAnswer) {
      this.#router.meters.delivered();
      this.#peer.send(messageFrame(this.scheme, this.appId, entry));
      entry.trail?.delivered(entry.messageId, entry.seq, this.connectionId);
    }
    this.answers.showRepeated(entry);
  }

  async #read(after: number, limit: number): Promise<InboxEntry[]> {
    const { identityId } = this;
    const entries = await this.#router.readInbox(this.appId, identityId, after, limit);
    if (entries.length > 0 && entries[0]!.blocksVersion !== this.blocks.version) {
      const blocks = await this.#router.blocksOf(this.appId, identityId);
      if (identityId === this.identityId) this.blocks = blocks;
    }
    return entries;
  }

  #isHidden(entry: InboxEntry): boolean {
    if (entry.isImported && entry.seq > this.#wholeSeq) return true;
    return isWithheld(this.blocks, entry);
  }
}
