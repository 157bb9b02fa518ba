// One connection of one device: what it has been sent, what it may send. Knows no socket, only a peer to write to.
// Invariant: between them, `message` and `sent` frames show every seq behind the start once, in order; what can't be
// sent right now is left in the inbox and read from there, so that a slow reader costs no memory.

import { randomUUID } from 'node:crypto';
import { asImidError, ImidError, type CloseReason } from '../errors.ts';
import type { AppId, Scheme } from '../ids.ts';
import type { App } from '../identity/apps.ts';
import type { User } from '../identity/directory.ts';
import { schemes } from '../identity/schemes.ts';
import type { InboxEntry } from '../store/messages.ts';
import type { Claims } from '../tokens/tokens.ts';
import type { Acks } from './acks.ts';
import type { ClientFrame, ConnectionState } from './frames.ts';
import { errorFrame, messageFrame, sentFrame, welcomeFrame } from './frames.ts';
import type { Outcome, Unit } from './writer.ts';

/** A token that was checked, with the user it acts for now. */
export interface Admitted {
  app: App;
  user: User;
  claims: Claims;
}

/** The other end of a connection, as the edge gives it. */
export interface Peer {
  send(text: string): void;
  close(reason: CloseReason): void;
  /** Stops and goes on reading what the client sends. */
  pause(): void;
  resume(): void;
  /** Bytes written and not yet taken by the network. */
  readonly buffered: number;
  /** Resolves true once little is buffered any more, false when that takes too long. */
  drained(): Promise<boolean>;
}

export interface ConnectRequest {
  /** Undefined: a device of its own, forgotten at the end. */
  deviceId: string | undefined;
  state: ConnectionState;
  after: number | undefined;
  epoch: string | undefined;
}

/** What a session needs of the router it belongs to. */
export interface Routes {
  /** Identifies a run of an inbox's sequence numbers: with another one, they mean something else. */
  epochOf(identityId: number): string;
  readonly acks: Acks;
  now(): Date;
  /** Checks a token. Throws what the client is to be told. */
  admit(token: string): Promise<Admitted>;
  /** Where a connecting device stands; undefined when its user is gone, or merged into another one. */
  openDevice(
    session: Session,
    deviceId: string | undefined,
  ): Promise<{ lastSeq: number; acked: number; isKnown: boolean } | undefined>;
  /** Moves the session to the user that its own was merged into, if it was; undefined when there is none any more. */
  follow(session: Session): Promise<User | undefined>;
  /** Finds whom a frame means. Throws what the client is to be told. */
  prepareSend(session: Session, frame: ClientFrame & { type: 'send' }): Promise<Unit>;
  write(unit: Unit): Promise<Outcome>;
  readInbox(appId: AppId, identityId: number, after: number, limit: number): Promise<InboxEntry[]>;
  leave(session: Session): void;
  /** Logs what a client was told when it is not the client's doing. */
  note(error: ImidError, session: Session): void;
}

/** Beyond this nothing more is read from the client until half of it is dealt with. */
const MAX_PENDING_FRAMES = 128;
const PAGE = 200;
/** Beyond this the connection is served from the inbox, as fast as it reads. */
const MAX_BUFFERED_BYTES = 1 << 20;
/** setTimeout takes at most 2^31 - 1 milliseconds. */
const MAX_TIMER_MS = 2_147_483_647;

export class Session {
  readonly connectionId = randomUUID();
  readonly appId: AppId;
  /** The row of its user; another one once the user is merged. */
  identityId: number;
  /** What the welcome calls the device. */
  readonly deviceId: string;
  readonly isAnonymous: boolean;
  /** Of the token that counts now; decides how others are shown. */
  scheme: Scheme;
  state: ConnectionState;

  readonly #router: Routes;
  readonly #peer: Peer;
  readonly #request: ConnectRequest;
  #admitted: Admitted;
  #user: User;
  /** Counts the inboxes that this was a connection of. */
  #run = 0;
  /** How far an inbox before was shown. */
  #formerCursor = 0;
  /** The last seq this connection was shown. */
  #cursor = 0;
  /** The inbox is known to reach up to here. */
  #target = 0;
  #isLive = false;
  #isReading = false;
  #isClosed = false;
  #expiry: NodeJS.Timeout | undefined;
  /** Ids of sends that were not answered yet, with how often each was sent. */
  readonly #unanswered = new Map<string, number>();
  /** Frames that were received and not dealt with yet. */
  #pending = 0;
  /** Frames take their turns: a later one starts when the one before has found out whom it means. */
  #turn: Promise<void> = Promise.resolve();

  constructor(router: Routes, peer: Peer, admitted: Admitted, request: ConnectRequest) {
    this.#router = router;
    this.#peer = peer;
    this.#request = request;
    this.#admitted = admitted;
    this.appId = admitted.claims.appId;
    this.identityId = admitted.user.id;
    this.#user = admitted.user;
    this.scheme = admitted.claims.scheme;
    this.isAnonymous = request.deviceId === undefined;
    this.deviceId = request.deviceId ?? `connection-${this.connectionId}`;
    this.state = request.state;
  }

  /** Says welcome and begins to deliver. The hub must know the session already, so that nothing slips between. */
  async start(): Promise<void> {
    const run = this.#run;
    const standing = await this.#router.openDevice(this, this.#request.deviceId);
    if (this.#isClosed || run !== this.#run) return;
    if (!standing) {
      const user = await this.#router.follow(this);
      // Merged meanwhile, it was moved and starts anew.
      if (user === undefined || run === this.#run) this.close('tokenRevoked');
      return;
    }
    const epoch = this.#router.epochOf(this.identityId);
    const { after } = this.#request;
    const isSameRun = this.#run === 0 && (this.#request.epoch === undefined || this.#request.epoch === epoch);
    const canResume = isSameRun && (after === undefined ? standing.isKnown : after <= standing.lastSeq);
    if (canResume) this.#cursor = after ?? standing.acked;
    else this.#cursor = after === undefined && isSameRun ? standing.acked : 0;
    this.#target = Math.max(this.#target, standing.lastSeq);
    this.#peer.send(
      welcomeFrame({
        connectionId: this.connectionId,
        me: schemes[this.scheme].me(this.appId, this.#user),
        device: this.deviceId,
        epoch,
        seq: standing.lastSeq,
        acked: standing.acked,
        resumed: canResume,
      }),
    );
    this.#isLive = true;
    this.#watchExpiry();
    this.#catchUp();
  }

  /**
   * Makes this a connection of the user that its own was merged into; it is to be started again, with a second welcome.
   * Its seqs begin anew.
   */
  moveTo(user: User): void {
    this.identityId = user.id;
    this.#user = user;
    this.#run += 1;
    this.#formerCursor = Math.max(this.#formerCursor, this.#cursor);
    this.#isLive = false;
    this.#cursor = 0;
    this.#target = 0;
  }

  /** A message that has just been committed to this inbox. */
  onEntry(entry: InboxEntry): void {
    this.#target = Math.max(this.#target, entry.seq);
    if (!this.#isLive || this.#isReading || this.#isClosed || entry.seq <= this.#cursor) return;
    if (entry.seq === this.#cursor + 1 && this.#peer.buffered <= MAX_BUFFERED_BYTES) this.#show(entry);
    else this.#catchUp();
  }

  /** The inbox reaches up to `seq`: makes good whatever was not announced here. */
  onPosition(seq: number): void {
    this.#target = Math.max(this.#target, seq);
    if (this.#isLive) this.#catchUp();
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  receive(frame: ClientFrame): void {
    if (frame.type === 'send') {
      this.#unanswered.set(frame.id, (this.#unanswered.get(frame.id) ?? 0) + 1);
      this.#takeTurn(() => this.#send(frame), frame.id);
    } else if (frame.type === 'ack') {
      // One of the inbox before was on its way.
      if (frame.seq > this.#cursor && frame.seq <= this.#formerCursor) return;
      if (frame.seq > this.#cursor)
        return this.fail(
          new ImidError('invalid_request', `seq is beyond ${this.#cursor}, the last that was sent here.`),
        );
      if (!this.isAnonymous) this.#router.acks.mark(this.appId, this.identityId, this.deviceId, frame.seq);
    } else if (frame.type === 'state') {
      this.state = frame.state;
    } else {
      this.#takeTurn(() => this.#renew(frame.token));
    }
  }

  /** Tells the client of an error; an id says which of its sends it is about. */
  fail(error: ImidError, id?: string): void {
    if (this.#isClosed) return;
    this.#peer.send(
      errorFrame({ ...(id === undefined ? {} : { id }), code: error.code, detail: error.message }),
    );
  }

  close(reason: CloseReason): void {
    if (this.#isClosed) return;
    this.#peer.close(reason);
    this.onClosed();
  }

  /** The connection has ended, by whichever side. */
  onClosed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#expiry);
    this.#router.leave(this);
  }

  /** `act` resolves when the next frame may start, with a promise of when this one is dealt with. */
  #takeTurn(act: () => Promise<{ done: Promise<void> }>, id?: string): void {
    this.#pending += 1;
    if (this.#pending === MAX_PENDING_FRAMES) this.#peer.pause();
    const finish = (): void => {
      this.#pending -= 1;
      if (this.#pending === MAX_PENDING_FRAMES / 2) this.#peer.resume();
    };
    this.#turn = this.#turn.then(async () => {
      if (this.#isClosed) return;
      try {
        const { done } = await act();
        void done.then(finish);
      } catch (error) {
        this.#refuse(error, id);
        finish();
      }
    });
  }

  async #send(frame: ClientFrame & { type: 'send' }): Promise<{ done: Promise<void> }> {
    const unit = await this.#router.prepareSend(this, frame);
    const run = this.#run;
    // The next frame need not wait for the disk.
    const done = this.#router.write(unit).then(
      ([outcome]) => {
        if (outcome instanceof ImidError) return this.#refuse(outcome, frame.id);
        const { messageId, senderSeq: seq, at } = outcome!;
        // It was stored in the inbox before, and is answered where it comes in this one.
        if (run !== this.#run) return;
        // A fresh one is answered where its seq comes in the stream; a repeat that lies behind us right here.
        if (seq > this.#cursor) this.onPosition(seq);
        else if (this.#answered(frame.id)) this.#peer.send(sentFrame({ id: frame.id, messageId, seq, at }));
      },
      (error: unknown) => this.#refuse(error, frame.id),
    );
    return { done };
  }

  async #renew(token: string): Promise<{ done: Promise<void> }> {
    const admitted = await this.#router.admit(token);
    if (admitted.user.id !== this.identityId) await this.#router.follow(this);
    if (admitted.user.id !== this.identityId)
      throw new ImidError('forbidden', 'The token acts for another user than this connection.');
    if (admitted.claims.deviceId !== undefined && admitted.claims.deviceId !== this.#request.deviceId)
      throw new ImidError('forbidden', 'The token is bound to another device.');
    this.#admitted = admitted;
    this.scheme = admitted.claims.scheme;
    this.#watchExpiry();
    return { done: Promise.resolve() };
  }

  #refuse(thrown: unknown, id?: string): void {
    const error = asImidError(thrown);
    if (id !== undefined) this.#answered(id);
    this.fail(error, id);
    if (error.code === 'token_revoked' && id !== undefined) this.close('tokenRevoked');
    this.#router.note(error, this);
  }

  #show(entry: InboxEntry): void {
    this.#cursor = entry.seq;
    if (entry.senderId === this.identityId && this.#answered(entry.clientId)) {
      const sent = sentFrame({
        id: entry.clientId,
        messageId: entry.messageId,
        seq: entry.seq,
        at: entry.at,
      });
      do this.#peer.send(sent);
      while (this.#answered(entry.clientId));
    } else this.#peer.send(messageFrame(this.scheme, this.appId, entry));
  }

  /** Takes one unanswered send of this id off the list; false when there is none. */
  #answered(id: string): boolean {
    const count = this.#unanswered.get(id);
    if (count === undefined) return false;
    if (count === 1) this.#unanswered.delete(id);
    else this.#unanswered.set(id, count - 1);
    return true;
  }

  /** Reads the inbox from behind the cursor until it is level with what is known of it. */
  #catchUp(): void {
    if (this.#isReading || this.#isClosed || !this.#isLive || this.#cursor >= this.#target) return;
    this.#isReading = true;
    void this.#readOn().then(
      (isLevel) => {
        this.#isReading = false;
        if (!isLevel) this.close('tooSlow');
        else this.#catchUp();
      },
      (error: unknown) => {
        // The position check will try again.
        this.#isReading = false;
        this.#router.note(asImidError(error), this);
      },
    );
  }

  async #readOn(): Promise<boolean> {
    const run = this.#run;
    while (this.#cursor < this.#target && !this.#isClosed) {
      if (!(await this.#peer.drained())) return false;
      const entries = await this.#router.readInbox(this.appId, this.identityId, this.#cursor, PAGE);
      if (run !== this.#run) break;
      // Nothing there although more was announced: the user is gone, which the position check finds out.
      if (entries.length === 0) {
        this.#target = this.#cursor;
        break;
      }
      for (const entry of entries) if (!this.#isClosed) this.#show(entry);
      this.#target = Math.max(this.#target, this.#cursor);
    }
    return true;
  }

  #watchExpiry(): void {
    clearTimeout(this.#expiry);
    const remaining = this.#admitted.claims.expiresAt.getTime() - this.#router.now().getTime();
    if (remaining <= 0) return this.close('tokenExpired');
    this.#expiry = setTimeout(() => this.#watchExpiry(), Math.min(remaining, MAX_TIMER_MS));
    this.#expiry.unref();
  }
}
