// An Android vendor: gives tokens for a credential, and takes notifications with one of them, each in the vendor's own words.

import { Ajv } from 'ajv';
import { Type, type TObject, type TProperties, type TSchema } from 'typebox';
import type { Target } from '../../src/push/contract.ts';
import { Refused, startHttpStandIn, type Answer, type Asked, type Running } from './http_stand_in.ts';

export interface Vendor {
  schema: TSchema;
  sendPath: string;
  /** Of the request to send. */
  contentType: string;
  messageOf(asked: Asked): unknown;
  tokenOf(asked: Asked): string | undefined;
  /** What the schema can't say. */
  faultOf?(message: any, asked: Asked, now: Date): string | undefined;
  auth?: {
    path: string;
    contentType: string;
    faultOf(asked: Asked, now: Date): string | undefined;
    given(token: string): Answer;
    refused: Answer;
  };
  /** Of what stays the same, such as a key. */
  fixedToken?: string;
  sent: Answer;
  gone: Answer;
  throttled: Answer;
  tokenRefused: Answer;
  wrong: Answer;
  /** Other paths than those to send and to get a token. */
  more?(asked: Asked): Answer | undefined;
}

export const target: Target = { token: 'dev1ce-t0ken_0f-no-one', environment: 'production' };

export const strict = <T extends TProperties>(properties: T): TObject<T> =>
  Type.Object(properties, { additionalProperties: false });
export const ok = (body: object): Answer => ({ status: 200, body });
export const formIn = ({ body }: Asked): Record<string, string> =>
  Object.fromEntries(new URLSearchParams(body.toString()));

export async function startVendor(t: Running, vendor: Vendor, now: () => Date = () => new Date()) {
  const isMessage = new Ajv({ useDefaults: false }).compile(vendor.schema);
  const taken: any[] = [];
  const tokens = new Set(vendor.fixedToken === undefined ? [] : [vendor.fixedToken]);
  let minted = 0;

  function mint(asked: Asked, auth: NonNullable<Vendor['auth']>): Answer {
    if (!isOf(asked, auth.contentType)) throw new Refused('content-type', auth.refused);
    const fault = auth.faultOf(asked, now());
    if (fault) throw new Refused(fault, auth.refused);
    minted += 1;
    const token = `t0ken.${minted}`;
    tokens.add(token);
    return auth.given(token);
  }

  function send(asked: Asked): any {
    if (!isOf(asked, vendor.contentType)) throw new Refused('content-type', vendor.wrong);
    if (!tokens.has(vendor.tokenOf(asked) ?? '')) throw new Refused('token', vendor.tokenRefused);
    const message = vendor.messageOf(asked);
    if (!isMessage(message)) throw new Refused(JSON.stringify(isMessage.errors), vendor.wrong);
    const fault = vendor.faultOf?.(message, asked, now());
    if (fault) throw new Refused(fault, vendor.wrong);
    return message;
  }

  const running = await startHttpStandIn(
    t,
    (asked, conduct) => {
      const path = asked.path.split('?')[0]!;
      if (path === vendor.auth?.path && asked.method === 'POST')
        return conduct === 'credential refused' ? vendor.auth.refused : mint(asked, vendor.auth);
      if (path !== vendor.sendPath || asked.method !== 'POST') {
        if (conduct === 'credential refused') return vendor.tokenRefused;
        return (conduct === 'accept' && vendor.more?.(asked)) || { status: 404, body: '<html>' };
      }
      const message = send(asked);
      if (conduct === 'credential refused') return vendor.tokenRefused;
      if (conduct === 'gone') return vendor.gone;
      if (conduct === 'throttled') return vendor.throttled;
      if (conduct === 'throttled for 7 s') return { ...vendor.throttled, headers: { 'retry-after': '7' } };
      if (conduct === 'accept') taken.push(message);
      return vendor.sent;
    },
    { nonsense: { status: 200, body: '<html>hello</html>' } },
  );
  return {
    ...running,
    /** What was taken, as it came. */
    messages: taken,
    taken: () => taken.map((message) => JSON.stringify(message)),
    minted: () => minted,
    /** Makes every token that was given worthless. */
    forgetTokens: () => tokens.clear(),
  };
}

function isOf({ headers }: Asked, contentType: string): boolean {
  return headers['content-type']?.split(';')[0] === contentType;
}
