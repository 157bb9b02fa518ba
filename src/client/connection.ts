// One socket: frames out, frames in, and one end. Notices by itself when nobody is there any more, since the pings of the
// service are shown to no browser.

export interface End {
  /** Of RFC 6455; 1006 where nobody has said anything. */
  code: number;
  reason: string;
  /** False: it never came to be. A browser doesn't say why. */
  wasOpen: boolean;
}

export interface ConnectionOptions {
  url: string;
  token: string;
  timeoutMs: number;
  silenceMs: number;
  onFrame: (frame: unknown) => void;
  /** Once, and nothing comes after it. */
  onEnd: (end: End) => void;
}

export type Connection = ReturnType<typeof openConnection>;

export function openConnection({ url, token, timeoutMs, silenceMs, onFrame, onEnd }: ConnectionOptions) {
  const socket = new WebSocket(url, ['imid.v1', `bearer.${token}`]);
  const closed = Promise.withResolvers<void>();
  let wasOpen = false;
  let hasEnded = false;
  let heardAt = 0;
  let timer = setTimeout(() => drop('nobody answers'), timeoutMs);

  function end(code: number, reason: string): void {
    if (hasEnded) return;
    hasEnded = true;
    clearTimeout(timer);
    onEnd({ code, reason, wasOpen });
  }

  /** Doesn't wait for the other side, which may be gone. */
  function drop(reason: string): void {
    end(1006, reason);
    socket.close();
  }

  function listen(): void {
    const silentMs = performance.now() - heardAt;
    if (silentMs >= silenceMs) return probe();
    clearTimeout(timer);
    timer = setTimeout(listen, silenceMs - silentMs + 1);
  }

  /** Asks whether anybody is there. */
  function probe(): void {
    if (hasEnded || socket.readyState !== WebSocket.OPEN) return;
    const askedAt = performance.now();
    socket.send('{"type":"ping"}');
    clearTimeout(timer);
    timer = setTimeout(() => (heardAt >= askedAt ? listen() : drop('nobody is there any more')), timeoutMs);
  }

  socket.addEventListener('open', () => {
    wasOpen = true;
  });
  socket.addEventListener('message', ({ data }: { data: unknown }) => {
    if (hasEnded) return;
    const isFirst = heardAt === 0;
    heardAt = performance.now();
    if (isFirst) listen();
    onFrame(JSON.parse(data as string));
  });
  socket.addEventListener('close', ({ code, reason }) => {
    end(code, reason);
    closed.resolve();
  });
  socket.addEventListener('error', () => {}); // the close says it

  return {
    probe,
    drop,
    /** Text of a frame. */
    send(text: string): void {
      if (!hasEnded && socket.readyState === WebSocket.OPEN) socket.send(text);
    },
    /** Resolves when the other side knows, or doesn't answer. */
    close(): Promise<void> {
      end(1000, '');
      socket.close();
      const patience = setTimeout(() => closed.resolve(), timeoutMs);
      return closed.promise.then(() => clearTimeout(patience));
    },
  };
}
