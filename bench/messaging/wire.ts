// A client's side of a WebSocket, by hand on a bare socket: a client library costs more per frame than the relay that is
// measured, so that its own speed would be the figure. Reads and writes no more than what a server here says and hears.

import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';

export interface Door {
  url: string;
  /** With its query. */
  path: string;
  token: string;
}

export interface Wire {
  /** Whole frames, one or several (see toFrame). */
  write(frames: Buffer): void;
  close(): void;
}

/** What comes in, while it comes in: `bytes` is used again afterwards. */
export interface Reader {
  /** A text stands in `bytes` from `start` up to `end`. */
  onText(bytes: Buffer, start: number, end: number): void;
  /** All that came at once was given out. */
  onRead?(): void;
  /** It ended, and not by a close of this side. */
  onEnd(why: string): void;
}

const TEXT = 1;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
const FINAL = 0x80;
const MASKED = 0x80;
/** Any will do that isn't zero, which servers would know to have nothing to undo for. */
export const MASK = [0x37, 0xfa, 0x21, 0x3d] as const;
const HEAD_END = Buffer.from('\r\n\r\n');
const READ_BYTES = 256 * 1024;
/** One for all, since what is read is dealt with at once. */
const reading = Buffer.allocUnsafe(READ_BYTES);

/** Resolves with the first text, the welcome; what comes later goes to the reader. Rejects when there is none. */
export function openWire(door: Door, reader: Reader): Promise<{ wire: Wire; welcome: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ wire: Wire; welcome: string }>();
  const { hostname, port, host } = new URL(door.url);
  let rest: Buffer | undefined;
  let stage: 'upgrade' | 'welcome' | 'open' | 'closed' = 'upgrade';

  const end = (why: string): void => {
    if (stage === 'closed') return;
    const wasOpen = stage === 'open';
    stage = 'closed';
    socket.destroy();
    if (wasOpen) reader.onEnd(why);
    else reject(new Error(`No welcome: ${why}`));
  };
  const socket = connect({
    host: hostname,
    port: Number(port),
    noDelay: true,
    onread: {
      buffer: reading,
      callback: (length) => {
        const chunk = reading.subarray(0, length);
        const bytes = rest ? Buffer.concat([rest, chunk]) : chunk;
        const at = take(bytes);
        rest = at < bytes.length && stage !== 'closed' ? Buffer.from(bytes.subarray(at)) : undefined;
        if (stage === 'open') reader.onRead?.();
        return true;
      },
    },
  });
  socket.on('error', (error) => end(error.message));
  socket.on('close', () => end('the connection was closed'));
  socket.write(
    `GET ${door.path} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n` +
      `Sec-WebSocket-Protocol: imid.v1\r\nAuthorization: Bearer ${door.token}\r\n\r\n`,
  );
  const wire: Wire = {
    write: (frames) => void socket.write(frames),
    close() {
      stage = 'closed';
      socket.destroy();
    },
  };
  return promise;

  /** Gives back where what isn't whole yet begins. */
  function take(bytes: Buffer): number {
    let at = 0;
    if (stage === 'upgrade') {
      const headEnd = bytes.indexOf(HEAD_END);
      if (headEnd < 0) return 0;
      at = headEnd + HEAD_END.length;
      if (!bytes.subarray(0, 12).equals(SWITCHING)) end(bytes.toString('latin1'));
      else stage = 'welcome';
    }
    while (stage !== 'closed' && bytes.length - at >= 2) {
      let length = bytes[at + 1]!;
      let start = at + 2;
      if (length === 126) {
        start += 2;
        if (bytes.length < start) break;
        length = bytes.readUInt16BE(at + 2);
      } else if (length === 127) {
        start += 8;
        if (bytes.length < start) break;
        length = Number(bytes.readBigUInt64BE(at + 2));
      }
      if (bytes.length < start + length) break;
      onFrame(bytes, bytes[at]! & 15, start, start + length);
      at = start + length;
    }
    return at;
  }

  function onFrame(bytes: Buffer, opcode: number, start: number, stop: number): void {
    if (opcode === TEXT && stage === 'open') reader.onText(bytes, start, stop);
    else if (opcode === TEXT) {
      stage = 'open';
      resolve({ wire, welcome: bytes.toString('utf8', start, stop) });
    } else if (opcode === PING) socket.write(toMasked(PONG, bytes.subarray(start, stop)));
    else if (opcode === CLOSE) end(`closed with ${bytes.readUInt16BE(start)}`);
    else end(`a frame with opcode ${opcode}`);
  }
}

const SWITCHING = Buffer.from('HTTP/1.1 101');

/** A text as a frame. */
export function toFrame(text: string): Buffer {
  return toMasked(TEXT, Buffer.from(text));
}

function toMasked(opcode: number, payload: Buffer): Buffer {
  const head =
    payload.length < 126
      ? [FINAL | opcode, MASKED | payload.length, ...MASK]
      : [FINAL | opcode, MASKED | 126, payload.length >> 8, payload.length & 255, ...MASK];
  return Buffer.concat([Buffer.from(head), payload.map((byte, i) => byte ^ MASK[i & 3]!)]);
}
