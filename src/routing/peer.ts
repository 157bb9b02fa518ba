// The other end of a connection, as the edge gives it: what a session may do to a socket without knowing one.

import type { CloseReason } from '../errors.ts';

export interface Peer {
  /** What is sent in one turn of the event loop goes out together. */
  send(text: string): void;
  close(reason: CloseReason): void;
  /** Stops reading what the client sends, until `resume` was called as often. */
  pause(): void;
  resume(): void;
  /** Bytes that were sent and not yet taken by the network. */
  readonly buffered: number;
  /** Resolves true once little is buffered any more, false when that takes too long. */
  drained(): Promise<boolean>;
}

/** Beyond this a connection is served from its inbox as fast as it reads, and what it sends is left unread. */
export const MAX_BUFFERED_BYTES = 1 << 20;
