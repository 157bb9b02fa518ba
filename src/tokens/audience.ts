// For which app a token is, as its `aud` and the parameter `audience` of RFC 8693 say it.

import { parseAppId, type AppId } from '../ids.ts';

const PREFIX = 'imid:';

export function toAudience(appId: AppId): string {
  return `${PREFIX}${appId}`;
}

export function parseAudience(audience: string): AppId | undefined {
  return audience.startsWith(PREFIX) ? parseAppId(audience.slice(PREFIX.length)) : undefined;
}
