// The adapters of the five Android vendors, against stand-ins that take only what the vendors do.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { notificationOf, reasonOf, testsOfContract } from './push/contract.ts';
import { names, setUp } from './push/vendors.ts';

for (const name of names) testsOfContract(name, (t) => setUp(t, name));
