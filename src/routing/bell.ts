/** Rings other processes. A ring says that something moved, never what; it may get lost, come twice or late. */
export interface Bell {
  /** Which implementation it is, for logs and metrics. */
  readonly kind: 'postgres' | 'nats';
  /** Sends each note to the process it is for. Never throws, never waits; what can't be sent right now is dropped (bounded). */
  ring(notes: readonly { processId: string; note: string }[]): void;
  /** Resolves when what was rung is sent as far as it can be, and the connection is given up. */
  close(): Promise<void>;
}
export const MAX_NOTE_BYTES = 7_500;
