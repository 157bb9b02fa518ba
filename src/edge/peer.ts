// A WebSocket as a session sees it. Texts that are sent in one turn of the event loop are framed here and go out in one
// write, past ws, whose own sending costs a write each. They go to the same socket, so that whatever waits there is counted
// by the socket itself; and in order with what ws sends (pings, pongs, the close), since everything is out before that.

import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';
import { closeCodes, type CloseReason } from '../errors.ts';
import type { Peer } from '../routing/peer.ts';

const DRAINED_BYTES = 64 * 1024;
const CLOSE_GRACE_MS = 2_000;

export function createPeer(
  socket: WebSocket,
  tcp: Socket,
  drainTimeoutMs: number,
  onResume: () => void,
): Peer {
  let texts: string[] = [];
  let textUnits = 0;
  let holds = 0;
  let waiting: (() => void)[] = [];

  const onWritten = (): void => {
    if (waiting.length === 0 || tcp.writableLength > DRAINED_BYTES) return;
    for (const resolve of waiting) resolve();
    waiting = [];
  };

  function flush(): void {
    if (texts.length === 0) return;
    if (socket.readyState === socket.OPEN && tcp.writable) tcp.write(frameTexts(texts), onWritten);
    texts = [];
    textUnits = 0;
  }

  const peer: Peer = {
    send(text) {
      if (texts.push(text) === 1) setImmediate(flush);
      textUnits += text.length;
    },
    pause() {
      if (holds++ === 0) socket.pause();
    },
    resume() {
      if (--holds > 0) return;
      onResume();
      socket.resume();
    },
    close(reason: CloseReason) {
      flush();
      const { code, reason: words } = closeCodes[reason];
      holds = 0;
      socket.resume();
      socket.close(code, words);
      setTimeout(() => socket.terminate(), CLOSE_GRACE_MS).unref();
    },
    get buffered() {
      return tcp.writableLength + textUnits;
    },
    drained() {
      if (peer.buffered <= DRAINED_BYTES) return Promise.resolve(true);
      const { promise, resolve } = Promise.withResolvers<boolean>();
      let taken = tcp.bytesWritten - tcp.writableLength;
      // Slow is not stalled: as long as the network takes something, there is patience.
      const timer = setInterval(() => {
        const now = tcp.bytesWritten - tcp.writableLength;
        if (now > taken) taken = now;
        else {
          clearInterval(timer);
          resolve(false);
        }
      }, drainTimeoutMs);
      waiting.push(() => {
        clearInterval(timer);
        resolve(true);
      });
      return promise;
    },
  };
  return peer;
}

const FINAL_TEXT = 0x81;
const LENGTH_IN_16_BITS = 126;
const LENGTH_IN_64_BITS = 127;

/** Each text as a message of one frame, not masked (RFC 6455 section 5.2). */
function frameTexts(texts: readonly string[]): Buffer {
  const lengths = texts.map((text) => Buffer.byteLength(text));
  const total = lengths.reduce((sum, length) => sum + headerBytes(length) + length, 0);
  const frames = Buffer.allocUnsafe(total);
  let at = 0;
  for (const [i, text] of texts.entries()) {
    const length = lengths[i]!;
    at = writeHeader(frames, at, length);
    frames.write(text, at);
    at += length;
  }
  return frames;
}

function headerBytes(length: number): number {
  if (length < LENGTH_IN_16_BITS) return 2;
  return length <= 0xffff ? 4 : 10;
}

function writeHeader(frames: Buffer, at: number, length: number): number {
  frames[at] = FINAL_TEXT;
  if (length < LENGTH_IN_16_BITS) {
    frames[at + 1] = length;
    return at + 2;
  }
  if (length <= 0xffff) {
    frames[at + 1] = LENGTH_IN_16_BITS;
    return frames.writeUInt16BE(length, at + 2);
  }
  frames[at + 1] = LENGTH_IN_64_BITS;
  return frames.writeBigUInt64BE(BigInt(length), at + 2);
}
