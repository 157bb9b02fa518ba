// Clients that connect, and then do nothing but answer pings.

import { openWire, type Door, type Wire } from './wire.ts';

export interface Crowd {
  /** So many at a time; resolves when each of them was welcomed. */
  connect(atATime: number): Promise<void>;
  /** Closes all. Throws when one of them was closed before. */
  dismiss(): void;
}

export function createCrowd(doors: readonly Door[]): Crowd {
  const wires: Wire[] = [];
  let failure: Error | undefined;
  const reader = {
    onText: () => {},
    onEnd(why: string): void {
      failure ??= new Error(`A client that did nothing was left alone: ${why}`);
    },
  };
  return {
    async connect(atATime) {
      const waiting = doors.values();
      const come = async (): Promise<void> => {
        for (const door of waiting) wires.push((await openWire(door, reader)).wire);
      };
      await Promise.all(Array.from({ length: atATime }, come));
    },
    dismiss() {
      for (const wire of wires.splice(0)) wire.close();
      if (failure) throw failure;
    },
  };
}
