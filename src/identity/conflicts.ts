// What is said where registering clashes with what is there: by the act itself and by its rehearsal.

import { ImidError } from '../errors.ts';

export function taken(pointers: readonly string[]): ImidError {
  return new ImidError('conflict', 'Somebody has this name already.', {
    errors: pointers.map((pointer) => ({ in: 'body', pointer, detail: 'is taken' })),
  });
}

/** What the caller saw of it is not so any more, or never was. */
export function notAsDemanded(): ImidError {
  return new ImidError(
    'precondition_failed',
    'It is not, or no longer, what the tags of the request stand for.',
  );
}

export function imIdTaken(): ImidError {
  return new ImidError('conflict', 'Another user has this imId.');
}

export function otherImId(): ImidError {
  return new ImidError('conflict', 'This userId is registered with another imId.');
}

export function usedAsUid(): ImidError {
  return new ImidError('conflict', 'This userId is in use as a uid, and adopt is false.', {
    errors: [{ in: 'body', pointer: '#/userId', detail: 'is in use as a uid' }],
  });
}

export function registeredAlready(): ImidError {
  return new ImidError('conflict', 'The user to adopt is registered already; rename it instead.', {
    errors: [{ in: 'body', pointer: '#/adopt/uid', detail: 'is the userId of a registered user' }],
  });
}
