// What an app asks for, looked at before anything is done with it: what is wrong is told at once, by its name.

import type { ClientOptions } from './contract.ts';
import { ImidError } from './errors.ts';

/** What a timer takes. */
const NUMBER_MAX = 2 ** 31 - 1;

/** Throws `invalid_request`. */
export function readOptions(options: ClientOptions) {
  const { getToken, deviceId, from, backoff = {} } = options;
  if (typeof getToken !== 'function') refuse('getToken must be a function');
  if (deviceId !== undefined && !isId(deviceId)) refuse('deviceId must be a text of 1 to 128 characters');
  if (from !== undefined && from !== 'acked' && from !== 'beginning')
    refuse('from must be "acked" or "beginning"');
  return {
    url: readUrl(options.url),
    getToken,
    deviceId,
    from,
    backoff: {
      baseMs: readNumber('backoff.baseMs', backoff.baseMs, 1_000),
      maxMs: readNumber('backoff.maxMs', backoff.maxMs, 30_000),
    },
    sendsPerSecond: readNumber('sendsPerSecond', options.sendsPerSecond, 900),
    timeoutMs: readNumber('timeoutMs', options.timeoutMs, 10_000),
    silenceMs: readNumber('silenceMs', options.silenceMs, 25_000),
  };
}

/** Whether the service takes it for an id of a message or a device; what more it asks of one, it says itself. */
export const isId = (id: unknown): boolean => typeof id === 'string' && id !== '' && id.length <= 128;

function refuse(detail: string): never {
  throw new ImidError('invalid_request', `${detail}.`);
}

function readUrl(url: string): string {
  if (!/^https?:\/\/[^\s?#]+$/.test(url))
    refuse('url must be where imid is, from http:// or https:// on, without a query');
  return url.replace(/\/+$/, '');
}

function readNumber(name: string, value: number | undefined, preset: number): number {
  if (value === undefined) return preset;
  if (!(Number.isFinite(value) && value >= 1 && value <= NUMBER_MAX))
    refuse(`${name} must be a number from 1 to ${NUMBER_MAX}`);
  return value;
}
