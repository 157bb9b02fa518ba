// Origins as browsers send them (RFC 6454 section 6.2): a scheme, a host, and a port where it isn't the scheme's own.
// Refuses what no page has: a path, a wildcard, `null`, the schemes of the socket itself.

const ORIGIN = /^[a-z][a-z\d+.-]*:\/\/[^\s/?#@\\*]+$/i;
/** Schemes that URLs know and pages don't have. */
const OTHER_SCHEMES = new Set(['ws:', 'wss:', 'ftp:', 'file:']);

/** The origin in the form in which browsers send it, or undefined. */
export function parseOrigin(text: string): string | undefined {
  const url = ORIGIN.test(text) ? URL.parse(text) : null;
  if (!url || url.host === '' || OTHER_SCHEMES.has(url.protocol)) return undefined;
  // An app's own scheme has no origin as far as URLs know, and its host is kept as it was written.
  return url.origin === 'null' ? `${url.protocol}//${url.host.toLowerCase()}` : url.origin;
}

/** Whether pages of an origin may act for users of an app; who says none is no browser. */
export function isAllowedOrigin(
  app: { allowedOrigins: readonly string[] },
  origin: string | undefined,
): boolean {
  if (origin === undefined || app.allowedOrigins.length === 0) return true;
  const parsed = parseOrigin(origin);
  return parsed !== undefined && app.allowedOrigins.includes(parsed);
}

export function faultOfOrigin(text: string): string | undefined {
  if (parseOrigin(text) !== undefined) return undefined;
  return 'must be an origin such as https://chat.example or capacitor://localhost, without a path and without wildcards';
}
