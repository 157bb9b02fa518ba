// What the client of a connection asks for, frame by frame, each in its turn: what it is shown is its session's.
// Invariant: a frame that fails is told to the client that sent it, and holds up none of those behind it.

import { asImidError, ImidError } from '../errors.ts';
import type { User } from '../identity/directory.ts';
import type { Recalled } from '../store/recalls.ts';
import type { ActFrame, ClientFrame } from './frames.ts';
import { PONG_FRAME } from './frames.ts';
import type { Meters } from './meters.ts';
import { MAX_BUFFERED_BYTES, type Peer } from './peer.ts';
import type { Sending } from './sending.ts';
import type { Admitted, Session } from './session.ts';
import type { Tracing } from './tracing.ts';

/** What is done by others of what is asked for. */
export interface Stages {
  readonly meters: Meters;
  /** Undefined: nobody follows sends. */
  readonly tracing: Tracing | undefined;
  readonly sending: Sending;
  /** Checks a token, used on a device. Throws what the client is to be told. */
  admit(token: string, deviceId: string | undefined): Promise<Admitted>;
  /** Moves the session to the user that its own was merged into, if it was; undefined when there is none any more. */
  follow(session: Session): Promise<User | undefined>;
  /** Does what a frame asks for; a recall is given back. Throws what the client is to be told. */
  act(session: Session, frame: ActFrame): Promise<Recalled | undefined>;
  /** Logs what a client was told when it is not the client's doing. */
  note(error: ImidError, session: Session, frameId?: string): void;
}

export class Asking {
  readonly #stages: Stages;
  readonly #session: Session;
  readonly #peer: Peer;
  #isWaitingForReader = false;

  constructor(stages: Stages, session: Session, peer: Peer) {
    this.#stages = stages;
    this.#session = session;
    this.#peer = peer;
  }

  receive(frame: ClientFrame): void {
    if (this.#session.isStopped) return;
    if (this.#peer.buffered > MAX_BUFFERED_BYTES) void this.#waitForReader();
    if (frame.type === 'send') this.#send(frame);
    else if (frame.type === 'ack') this.#session.ack(frame.seq);
    else if (frame.type === 'token') this.#renew(frame.token);
    else if (frame.type === 'ping') this.#peer.send(PONG_FRAME);
    else if (frame.type === 'state') this.#session.changeState(frame.state);
    else this.#act(frame);
  }

  #send(frame: ClientFrame & { type: 'send' }): void {
    const { meters, sending, tracing } = this.#stages;
    const { connectionId, answers, turns } = this.#session;
    const origin = `${connectionId}/${frame.id}`;
    const trail = tracing?.begin({ id: origin, way: 'socket' });
    meters.sent('socket');
    answers.expect(frame.id);
    turns.take(
      () => {
        if (this.#session.isClosed) throw new ImidError('unavailable', 'The connection is closed.');
        return sending.prepare(this.#session, frame, origin, trail);
      },
      async (unit) => {
        const { run } = answers;
        const [outcome] = await sending.write(unit);
        if (outcome instanceof ImidError) throw outcome;
        trail?.ended();
        answers.settle(frame.id, run, outcome!);
      },
      (error) => {
        trail?.ended(asImidError(error));
        this.#refuse(error, frame.id);
      },
    );
  }

  #act(frame: ActFrame): void {
    const { answers, turns } = this.#session;
    const id = frame.type === 'recall' ? frame.id : undefined;
    if (id !== undefined) answers.expect(id);
    let run = 0;
    turns.take(
      () => {
        run = answers.run;
        return this.#stages.act(this.#session, frame);
      },
      async (recalled) => {
        if (id !== undefined && recalled) answers.settle(id, run, recalled);
      },
      (error) => this.#refuse(error, id),
    );
  }

  #renew(token: string): void {
    const session = this.#session;
    session.turns.take(
      async () => {
        const deviceId = session.isAnonymous ? undefined : session.deviceId;
        const admitted = await this.#stages.admit(token, deviceId);
        if (admitted.user.id !== session.identityId) await this.#stages.follow(session);
        if (admitted.user.id !== session.identityId)
          throw new ImidError('forbidden', 'The token acts for another user than this connection.');
        if (admitted.claims.deviceId !== undefined && admitted.claims.deviceId !== deviceId)
          throw new ImidError('forbidden', 'The token is bound to another device.');
        session.changeToken(admitted);
      },
      () => Promise.resolve(),
      (error) => this.#refuse(error),
    );
  }

  #refuse(thrown: unknown, id?: string): void {
    const error = asImidError(thrown);
    if (id !== undefined) this.#session.answers.take(id);
    if (!this.#session.isClosed) this.#stages.note(error, this.#session, id);
    this.#session.fail(error, id);
    if (error.code === 'token_revoked' && id !== undefined) this.#session.close('tokenRevoked');
  }

  /** A client that sends and doesn't read what it is answered is not read from either. */
  async #waitForReader(): Promise<void> {
    if (this.#isWaitingForReader) return;
    this.#isWaitingForReader = true;
    this.#peer.pause();
    if (!(await this.#peer.drained())) this.#session.close('tooSlow');
    this.#peer.resume();
    this.#isWaitingForReader = false;
  }
}
