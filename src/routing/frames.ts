// The frames of the socket, subprotocol imid.v1: what a client may send, and the text of what it is sent.

import type { Shown } from '../identity/schemes.ts';
import { show } from '../identity/schemes.ts';
import type { Address } from '../identity/schemes.ts';
import type { ErrorCode } from '../errors.ts';
import type { AppId, Scheme } from '../ids.ts';
import type { InboxEntry } from '../store/messages.ts';

export type ConnectionState = 'foreground' | 'background';

/** What a push shows instead of the content. */
export interface PushText {
  title?: string | undefined;
  body?: string | undefined;
}

export type ClientFrame =
  /** `content` is JSON text here. */
  | { type: 'send'; id: string; to: Address; content: string; push?: PushText | undefined }
  | { type: 'ack'; seq: number }
  | { type: 'state'; state: ConnectionState }
  | { type: 'token'; token: string }
  | { type: 'ping' };

/** Answers a ping, for those who aren't shown the pings of the WebSocket. */
export const PONG_FRAME = '{"type":"pong"}';

export interface Welcome {
  connectionId: string;
  me: object;
  device: string;
  epoch: string;
  seq: number;
  acked: number;
  resumed: boolean;
}

export function welcomeFrame(welcome: Welcome): string {
  return JSON.stringify({ type: 'welcome', ...welcome });
}

export function sentFrame({
  id,
  messageId,
  seq,
  at,
}: {
  id: string;
  messageId: string;
  seq: number;
  at: Date;
}): string {
  return `{"type":"sent","id":${JSON.stringify(id)},"messageId":"${messageId}","seq":${seq},"at":"${toText(at)}"}`;
}

let lastAt: Date | undefined;
let lastText = '';

/** What is stored together has one time. */
function toText(at: Date): string {
  if (at !== lastAt) {
    lastAt = at;
    lastText = at.toISOString();
  }
  return lastText;
}

/** An inbox entry as a client of the scheme is shown it; the content is passed on as it was stored. */
export function messageFrame(viewer: Scheme, appId: AppId, entry: InboxEntry): string {
  const from: Shown = show(viewer, appId, entry.from);
  const to: Shown = show(viewer, appId, entry.to);
  return (
    `{"type":"message","seq":${entry.seq},"messageId":"${entry.messageId}","from":${JSON.stringify(from)},` +
    `"to":${JSON.stringify(to)},"content":${entry.content},"at":"${toText(entry.at)}"}`
  );
}

export function errorFrame(error: { id?: string | undefined; code: ErrorCode; detail: string }): string {
  return JSON.stringify({ type: 'error', ...error });
}
