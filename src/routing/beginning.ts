// Where a connection begins in its inbox, by what its client asks for and by where its device stands. Pure, no I/O.
// Invariant: what may not have been shown yet is shown; where the seqs that the client knows mean nothing here, all is.

import type { OpenedConnection } from '../store/connections.ts';
import type { ConnectionState } from './frames.ts';

export interface ConnectRequest {
  /** Undefined: a device of its own, forgotten at the end. */
  deviceId: string | undefined;
  state: ConnectionState;
  after: number | undefined;
  epoch: string | undefined;
}

export interface Beginning {
  /** `over`: the device has to start over. */
  outcome: 'resumed' | 'new' | 'over';
  /** It is shown what is behind this. */
  cursor: number;
  acked: number;
  /** It is shown all there is, so also what was brought along. */
  isWhole: boolean;
}

/** `isSameRun`: what the client says of seqs is about this inbox. */
export function findBeginning(
  { deviceId, after, epoch }: ConnectRequest,
  { lastSeq, acked = lastSeq, isNew }: OpenedConnection,
  isSameRun: boolean,
): Beginning {
  const isKnown = !isNew && deviceId !== undefined;
  const isResumed = isSameRun && (after === undefined ? isKnown : after <= lastSeq);
  const isOver = isKnown || after !== undefined || epoch !== undefined;
  let cursor = 0;
  if (isResumed) cursor = after ?? acked;
  else if (after === undefined && isSameRun) cursor = acked;
  return {
    outcome: isResumed ? 'resumed' : isOver ? 'over' : 'new',
    cursor,
    acked,
    isWhole: cursor === 0 && (after !== undefined || !isSameRun),
  };
}
