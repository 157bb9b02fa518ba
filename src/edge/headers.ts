// What every answer says to browsers, as helmet has it: nothing here is to be framed, sniffed, embedded or kept. Made once,
// since a header costs each request more than its bytes.

import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import helmet from 'helmet';

export type Headers = Readonly<Record<string, string>>;

const YEAR_SECONDS = 365 * 24 * 3_600;

/** Of answers that are no documents, and so do without what is about those. */
export function answerHeaders(publicUrl: string): Headers {
  return {
    ...headersOf(publicUrl, {
      crossOriginOpenerPolicy: false,
      originAgentCluster: false,
      xDnsPrefetchControl: false,
      xDownloadOptions: false,
      xPermittedCrossDomainPolicies: false,
      xXssProtection: false,
    }),
    // Tokens, keys and what users say are kept by nobody on the way; a route that is different says so.
    'cache-control': 'no-store',
  };
}

/** Of the pages of the docs, besides their own content policy. */
export function pageHeaders(publicUrl: string): Headers {
  return headersOf(publicUrl, {});
}

function headersOf(publicUrl: string, options: Record<string, false>): Headers {
  const response = new ServerResponse(new IncomingMessage(new Socket()));
  const set = helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
    },
    xFrameOptions: { action: 'deny' },
    // Over http browsers ignore it, and a service that is reached by both must not lock out the other.
    strictTransportSecurity: publicUrl.startsWith('https:') && { maxAge: YEAR_SECONDS },
    ...options,
  });
  set(response.req, response, () => {});
  return response.getHeaders() as Record<string, string>;
}
