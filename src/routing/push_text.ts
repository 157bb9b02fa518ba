// What a push says: what the message's sender wrote for it, else what the app's template makes of the message.

import { hash, randomUUID } from 'node:crypto';
import type { AppId } from '../ids.ts';
import type { App } from '../identity/apps.ts';
import { describe } from '../identity/schemes.ts';
import type { PushText } from './frames.ts';
import type { Notification } from './push_providers.ts';
import type { PushTemplate, PushTemplates } from '../store/push_templates.ts';
import type { Pushable } from '../store/pushables.ts';
import type { PushDevice, PushStanding } from '../store/push_standings.ts';

export const TTL_MAX_SECONDS = 28 * 86_400;
const DEFAULT_TEMPLATE = { title: '{sender}', body: 'New message', hidden: 'New message' };
const COLLAPSE_ID_LENGTH = 22;
/** A push has room for no more. */
const TEXT_MAX_LENGTH = 300;

/** A push for all of a conversation that a device wasn't told of. */
export function compose(
  app: Pick<App, 'id' | 'schemes' | 'hasAliases' | 'pushShowsText' | 'pushTemplates'>,
  standing: Pick<PushStanding, 'showsText' | 'unread' | 'unreadOf'>,
  { locale }: Pick<PushDevice, 'locale'>,
  messages: readonly Pushable[],
  now: Date,
): Notification {
  const last = messages.at(-1)!;
  const { title, body, data, priority = 'high', ttlSeconds } = wordsOf(last) || {};
  const count = Math.max(messages.length, standing.unreadOf.get(last.sender?.id ?? 0) ?? 0);
  const template = { ...DEFAULT_TEMPLATE, ...findTemplate(app.pushTemplates, locale) };
  const isOpen = app.pushShowsText && standing.showsText;
  const fill = (text: string): string =>
    text.replaceAll(/\{(sender|text|count)\}/g, (_, name: string) => {
      if (name === 'sender') return last.senderName ?? '';
      return name === 'count' ? String(count) : isOpen ? textOf(last.content) : '';
    });
  return {
    id: last.messageId,
    title: (isOpen && title) || fill(template.title) || undefined,
    body: (isOpen && (body || fill(template.body))) || fill(template.hidden),
    data: {
      ...(isOpen && data),
      messageId: last.messageId,
      seq: String(last.seq),
      count: String(count),
      ...senderOf(app, last),
    },
    badge: standing.unread,
    collapseId: collapseIdOf(app.id, last.sender?.id ?? 0),
    ttlSeconds: ttlSeconds === undefined ? TTL_MAX_SECONDS : secondsLeft(last.at, ttlSeconds, now),
    priority,
    isSilent: false,
  };
}

/** Of the time for which a message is worth a push; 0: now or never. */
function secondsLeft(at: Date, ttlSeconds: number, now: Date): number {
  return Math.max(0, ttlSeconds - Math.floor((now.getTime() - at.getTime()) / 1_000));
}

/** Takes away what a device shows of a conversation: the app finds it by `collapseId`, which providers don't show it. */
export function composeClearing(
  standing: Pick<PushStanding, 'appId' | 'unread'>,
  { peerId, seq }: { peerId: number; seq: number },
): Notification {
  const collapseId = collapseIdOf(standing.appId, peerId);
  return {
    id: randomUUID(),
    data: { seq: String(seq), collapseId, cleared: 'true' },
    badge: standing.unread,
    collapseId,
    ttlSeconds: TTL_MAX_SECONDS,
    priority: 'normal',
    isSilent: true,
  };
}

export function composeTest(): Notification {
  return {
    id: randomUUID(),
    title: 'imid',
    body: 'A test: pushes arrive.',
    data: { test: 'true' },
    ttlSeconds: 300,
    priority: 'high',
    isSilent: false,
  };
}

/** What a message brings along for its push; false: it is to have none. */
export function wordsOf({ push }: Pick<Pushable, 'push'>): PushText | undefined {
  return push === undefined ? undefined : (JSON.parse(push) as PushText);
}

/** As the app finds its conversation by. */
function senderOf(app: Parameters<typeof describe>[0], { sender }: Pushable): { sender?: string } {
  return sender && sender.name !== '' ? { sender: describe(app, sender).imId } : {};
}

/** Of a conversation; says nothing to whoever sees it. */
function collapseIdOf(appId: AppId, peerId: number): string {
  return hash('sha256', `${appId} ${peerId}`, 'base64url').slice(0, COLLAPSE_ID_LENGTH);
}

/** That of the language, or of what it is a variety of: `pt-BR`, `pt`, `default`. */
function findTemplate(templates: PushTemplates, locale = ''): PushTemplate | undefined {
  if (Object.keys(templates).length === 0) return undefined;
  const byTag = new Map(Object.entries(templates).map(([tag, template]) => [tag.toLowerCase(), template]));
  for (
    let tag = locale.toLowerCase().replaceAll('_', '-');
    tag !== '';
    tag = tag.replace(/(^|-)[^-]*$/, '')
  ) {
    const template = byTag.get(tag);
    if (template) return template;
  }
  return byTag.get('default');
}

/** A content that is a string, or has one as `text`. */
function textOf(content: string | undefined): string {
  const parsed: unknown = content === undefined ? undefined : JSON.parse(content);
  const text = typeof parsed === 'object' && parsed !== null && 'text' in parsed ? parsed.text : parsed;
  return typeof text === 'string' ? text.slice(0, TEXT_MAX_LENGTH).toWellFormed() : '';
}
