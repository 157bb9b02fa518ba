// Starts the process of the clients.

import { fileURLToPath } from 'node:url';
import { startTasks, type TaskProcess } from '../tasks.ts';
import type { Tasks } from './load.ts';

const LOAD = fileURLToPath(new URL('load.ts', import.meta.url));

export type LoadProcess = TaskProcess<Tasks>;

export const startLoadProcess = (): LoadProcess => startTasks<Tasks>(LOAD);
