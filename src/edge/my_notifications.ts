// What the token's user wants to be told of by push.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { ImidError } from '../errors.ts';
import type { App } from '../identity/apps.ts';
import type { Directory, User } from '../identity/directory.ts';
import type { NotificationSettings } from '../identity/notification_settings.ts';
import { show } from '../identity/schemes.ts';
import type { Scheme } from '../ids.ts';
import { atField } from './contacts.ts';
import { clientProblems } from './me.ts';
import { Address, EXAMPLE_AT, Party, ref, Timestamp } from './shapes.ts';

const MUTED_MAX = 1_000;

const TimeOfDay = Type.String({ pattern: '^([01][0-9]|2[0-3]):[0-5][0-9]$', examples: ['22:00'] });
const QuietHours = Type.Object(
  { from: TimeOfDay, to: TimeOfDay, timeZone: Type.String({ maxLength: 64, examples: ['Europe/Paris'] }) },
  { additionalProperties: false },
);
const nullable = <T>(schema: Type.TSchema) => Type.Unsafe<T | null>(Type.Union([schema, Type.Null()]));
const until = Type.Optional(
  Type.String({
    format: 'date-time',
    description: 'Without it, until the user says otherwise.',
    examples: [EXAMPLE_AT],
  }),
);
const fields = {
  quietHours: nullable<{ from: string; to: string; timeZone: string }>(QuietHours),
  doNotDisturbUntil: nullable<string>(Timestamp),
  showText: Type.Boolean({ description: 'Whether pushes may say what a message says.' }),
};
const example = {
  quietHours: { from: '22:00', to: '07:00', timeZone: 'Europe/Paris' },
  doNotDisturbUntil: null,
  showText: true,
  muted: [{ user: { uid: 'mallory' } }],
};
const Settings = Type.Object(
  { ...fields, muted: Type.Array(Type.Object({ user: ref(Party), until })) },
  { examples: [example] },
);

export const myNotifications: FastifyPluginAsyncTypebox<{
  directory: Directory;
  notificationSettings: NotificationSettings;
}> = async (app, { directory, notificationSettings }) => {
  async function shown(tenant: App, user: User, scheme: Scheme) {
    const { quietHours, pausedUntil, showsText, muted } = await notificationSettings.find(tenant.id, user.id);
    return {
      quietHours: quietHours ?? null,
      doNotDisturbUntil: pausedUntil?.toISOString() ?? null,
      showText: showsText,
      muted: muted.map((each) => ({
        user: show(scheme, tenant.id, each.peer),
        ...(each.until && { until: each.until.toISOString() }),
      })),
    };
  }

  app.get(
    '/notifications',
    {
      schema: {
        operationId: 'getMyNotifications',
        summary: 'What the token’s user wants to be told of by push',
        tags: ['Me'],
        response: { 200: { ...Settings, description: 'As it is now.' }, ...clientProblems() },
      },
    },
    async ({ admitted: { app: tenant, user, claims } }) => shown(tenant, user, claims.scheme),
  );

  app.put(
    '/notifications',
    {
      schema: {
        operationId: 'replaceMyNotifications',
        summary: 'Say what to be told of by push',
        description:
          'What comes in quiet hours, or before `doNotDisturbUntil`, is pushed when they are over, unless it has been read by ' +
          'then. What comes from somebody who is muted is never pushed; it stands in the inbox, and counts, as ever. ' +
          'What is left out is as for a user who never said anything.',
        tags: ['Me'],
        body: Type.Object(
          {
            quietHours: Type.Optional(fields.quietHours),
            doNotDisturbUntil: Type.Optional(fields.doNotDisturbUntil),
            showText: Type.Optional(fields.showText),
            muted: Type.Optional(
              Type.Array(Type.Object({ user: ref(Address), until }, { additionalProperties: false }), {
                maxItems: MUTED_MAX,
              }),
            ),
          },
          { additionalProperties: false, examples: [example] },
        ),
        response: {
          200: { ...Settings, description: 'As it is now.' },
          ...clientProblems('not_found', 'payload_too_large'),
        },
      },
    },
    async ({ admitted: { app: tenant, user, claims }, body }) => {
      const { quietHours, doNotDisturbUntil, showText = true, muted = [] } = body;
      if (quietHours && !isTimeZone(quietHours.timeZone))
        throw atField(new ImidError('invalid_request', 'quietHours.timeZone is no time zone of the IANA.'), {
          in: 'body',
          pointer: '#/quietHours/timeZone',
        });
      const peers = await directory.claim(
        tenant,
        muted.map((each) => each.user),
      );
      await notificationSettings.replace(tenant.id, user.id, {
        quietHours: quietHours ?? undefined,
        pausedUntil: doNotDisturbUntil ? new Date(doNotDisturbUntil) : undefined,
        showsText: showText,
        muted: peers.map((found, i) => {
          if (found instanceof ImidError) throw atField(found, { in: 'body', pointer: `#/muted/${i}/user` });
          const { until: mutedUntil } = muted[i]!;
          return { peer: found.id, until: mutedUntil === undefined ? undefined : new Date(mutedUntil) };
        }),
      });
      return shown(tenant, user, claims.scheme);
    },
  );
};

function isTimeZone(timeZone: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone }).format();
    return true;
  } catch {
    return false;
  }
}
