// The frames of the socket, subprotocol imid.v1: what a client may send, and the text of what it is sent.

import type { Called, Shown } from '../identity/schemes.ts';
import { show } from '../identity/schemes.ts';
import type { Address } from '../identity/schemes.ts';
import type { ErrorCode } from '../errors.ts';
import type { AppId, Scheme } from '../ids.ts';
import type { InboxEntry } from '../store/messages.ts';

export type ConnectionState = 'foreground' | 'background';

/** What a message brings along for its push; false: there is to be none. */
export type PushText =
  | false
  | {
      title?: string;
      body?: string;
      /** For the app. */
      data?: Record<string, string>;
      priority?: 'high' | 'normal';
      /** For how long the provider keeps it for a device that is out of reach. */
      ttlSeconds?: number;
    };

export type ClientFrame =
  /** `content` is JSON text here. */
  | { type: 'send'; id: string; to: Address; content: string; push?: PushText | undefined }
  | { type: 'ack'; seq: number }
  | { type: 'state'; state: ConnectionState }
  | { type: 'token'; token: string }
  | { type: 'read'; with: Address | { system: true }; messageId: string }
  | { type: 'recall'; id: string; messageId: string }
  | { type: 'typing'; to: Address }
  | { type: 'watch'; users: Address[] }
  | { type: 'ping' };

/** The frames that are neither a message nor about the connection itself. */
export type ActFrame = Extract<ClientFrame, { type: 'read' | 'recall' | 'typing' | 'watch' }>;

/** Up to which message somebody has read a conversation. */
export interface Reading {
  reader: Called;
  peer: Called;
  messageId: string;
  at: Date;
}

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
  const parties = `"from":${JSON.stringify(from)},"to":${JSON.stringify(to)}`;
  const at = `"at":"${toText(entry.at)}"`;
  if (entry.recalls !== undefined)
    return `{"type":"recalled","seq":${entry.seq},"messageId":"${entry.recalls}",${parties},${at}}`;
  return (
    `{"type":"message","seq":${entry.seq},"messageId":"${entry.messageId}",${parties},` +
    `"content":${entry.content},${at}${entry.isRecalled ? ',"recalled":true' : ''}}`
  );
}

/** Up to `seq` there is nothing more to show. */
export function skipFrame(seq: number): string {
  return `{"type":"skip","seq":${seq}}`;
}

/** `of` has read the conversation with `peer`; whoever is shown it is one of the two. */
export function readFrame(viewer: Scheme, appId: AppId, reading: Reading, isReader: boolean): string {
  const { reader, peer, messageId, at } = reading;
  return JSON.stringify({
    type: 'read',
    with: show(viewer, appId, isReader ? peer : reader),
    from: show(viewer, appId, reader),
    messageId,
    at: at.toISOString(),
  });
}

export function typingFrame(viewer: Scheme, appId: AppId, from: Called): string {
  return JSON.stringify({ type: 'typing', from: show(viewer, appId, from) });
}

export function presenceFrame(
  viewer: Scheme,
  appId: AppId,
  user: Called,
  { online, lastSeenAt }: { online: boolean; lastSeenAt: Date | undefined },
): string {
  return JSON.stringify({
    type: 'presence',
    user: show(viewer, appId, user),
    online,
    ...(lastSeenAt && !online && { lastSeenAt: lastSeenAt.toISOString() }),
  });
}

export function errorFrame(error: { id?: string | undefined; code: ErrorCode; detail: string }): string {
  return JSON.stringify({ type: 'error', ...error });
}
