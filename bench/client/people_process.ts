// Starts the process of the clients of one kind.

import { fileURLToPath } from 'node:url';
import { startTasks, type TaskProcess } from '../tasks.ts';
import type { Tasks } from './people.ts';

const PEOPLE = fileURLToPath(new URL('people.ts', import.meta.url));

export type People = TaskProcess<Tasks>;

export const startPeople = (): People => startTasks<Tasks>(PEOPLE, ['--expose-gc']);
