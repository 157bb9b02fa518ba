// The app that a command is about.

import { InvalidArgumentError, Option } from 'commander';
import { parseAppId } from '../ids.ts';

export const appOption = new Option('--app <appId>', 'the app')
  .makeOptionMandatory()
  .argParser((text: string) => {
    const appId = parseAppId(text);
    if (appId === undefined) throw new InvalidArgumentError('It must be a positive integer.');
    return appId;
  });
