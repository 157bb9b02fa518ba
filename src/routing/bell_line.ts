// One connection of a bell: what it sends through and hears on until it is lost, and the queue in front of it.
// Invariants: one `send` at a time; what waits meanwhile is bounded, and dropped with the line.

export interface Note {
  processId: string;
  note: string;
}

export interface Line {
  /**
   * Sends the notes in their order, and resolves when the far end has them; without notes, when it answers. Rejects
   * when they can't be sent. Doesn't settle while the far end is silent, or when the line is lost.
   */
  send(notes: readonly Note[]): Promise<void>;
  /** Gives the line up without waiting for an answer that is outstanding; resolves when it is gone. */
  hangUp(): Promise<void>;
}

export interface DialOptions {
  processId: string;
  /** Doesn't throw. */
  hear: (note: string) => void;
  /** May be called more than once. */
  lost: (reason: unknown) => void;
  /** Dialling, where it would go on for ever, ends with it. */
  signal: AbortSignal;
}

/** Resolves when the far end is reached; it need not have answered. */
export type Dial = (options: DialOptions) => Promise<Line>;

export interface Sending {
  /** Drops what there is no room for. */
  add(notes: readonly Note[]): void;
  /** Resolves when nothing waits and nothing is under way, or it is stopped. */
  settle(): Promise<void>;
  stop(): void;
}

/** Of the notes that wait, in characters. */
const MAX_WAITING = 8 * 1024 * 1024;
/** What a note takes besides its text. */
const NOTE_OVERHEAD = 100;
const PULSE_MS = 1_000;
const PATIENCE_MS = 3_000;

/** Asks at once whether the far end answers, and again whenever there was nothing to send for a while. */
export function startSending(
  line: Line,
  events: {
    /** The far end has answered for the first time. */
    onAnswer: () => void;
    /** The far end has refused something, or been silent for too long. */
    onFailure: (reason: unknown) => void;
  },
): Sending {
  let waiting: Note[] = [];
  let room = MAX_WAITING;
  let run: Promise<void> | undefined;
  let sentAt = 0;
  let isAnswered = false;
  const stopped = Promise.withResolvers<void>();

  async function sendWaiting(): Promise<void> {
    do {
      const notes = waiting;
      waiting = [];
      room = MAX_WAITING;
      sentAt = performance.now();
      await line.send(notes);
      if (!isAnswered) events.onAnswer();
      isAnswered = true;
    } while (waiting.length > 0);
    run = undefined;
  }

  function start(): void {
    run = sendWaiting();
    run.catch(events.onFailure);
  }

  const pulse = setInterval(() => {
    if (!run) start();
    else if (performance.now() - sentAt > PATIENCE_MS) events.onFailure(new Error('no answer'));
  }, PULSE_MS);
  pulse.unref();
  start();

  return {
    add(notes) {
      for (const note of notes) {
        const size = note.note.length + NOTE_OVERHEAD;
        if (size > room) break; // with what comes behind it, rather than out of turn
        room -= size;
        waiting.push(note);
      }
      if (!run && waiting.length > 0) start();
    },
    settle: () => Promise.race([run, stopped.promise]),
    stop() {
      waiting = [];
      clearInterval(pulse);
      stopped.resolve();
    },
  };
}
