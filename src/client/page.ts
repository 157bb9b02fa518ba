// What the page around a client tells, where there is one: whether somebody looks at it, and that there may be a network again.

interface Target {
  addEventListener(name: string, listener: () => void): void;
  removeEventListener(name: string, listener: () => void): void;
}

const { document, addEventListener, removeEventListener } = globalThis as unknown as Partial<Target> & {
  document?: Target & { readonly visibilityState: string };
};

export const hasPage = document !== undefined;
export const isPageVisible = (): boolean => document?.visibilityState !== 'hidden';

/** Gives back what ends it. */
export function followPage(listeners: {
  onVisibility(isVisible: boolean): void;
  onOnline(): void;
}): () => void {
  if (!document || !addEventListener) return () => {};
  const look = (): void => listeners.onVisibility(isPageVisible());
  document.addEventListener('visibilitychange', look);
  addEventListener('online', listeners.onOnline);
  return () => {
    document.removeEventListener('visibilitychange', look);
    removeEventListener!('online', listeners.onOnline);
  };
}
