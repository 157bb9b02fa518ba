// Requests to a URL of a customer, signed by Standard Webhooks 1.0, and what its answers come to.

import { Webhook } from 'standardwebhooks';
import { createAsking, type AskingOptions } from './asking.ts';
import type { Outcome } from './contract.ts';
import { outcomeByStatus, refuseCredential } from './outcomes.ts';

export interface SignedPostOptions extends AskingOptions {
  now(): Date;
}

export interface SignedPost {
  /** `id`: the same at another try. `write` is given the time of this one. Never throws for what is answered. */
  post(id: string, write: (timestamp: Date) => string): Promise<Outcome>;
  /** Gives up what is under way. */
  close(): void;
}

export function createSignedPost(
  { url, secrets }: { url: string; secrets: readonly string[] },
  { now, ...options }: SignedPostOptions,
): SignedPost {
  const asking = createAsking({ ...options, cutsBody: true });
  const signers = secrets.map((secret) => new Webhook(secret));

  return {
    async post(id, write) {
      const fault = options.outbound.faultOf(url);
      if (fault !== undefined) return refuseCredential(`the URL ${fault}`);
      const at = now();
      const body = write(at);
      const headers = {
        'content-type': 'application/json',
        'webhook-id': id,
        'webhook-timestamp': String(Math.floor(at.getTime() / 1_000)),
        'webhook-signature': signers.map((signer) => signer.sign(id, at, body)).join(' '),
      };
      const answer = await asking.post(url, headers, body);
      if ('kind' in answer) return answer;
      const { status } = answer;
      if (status >= 200 && status < 300) return { kind: 'sent' };
      if (status === 410) return { kind: 'gone' };
      if (status === 401 || status === 403)
        return refuseCredential(`the webhook answers ${status}: does it know the secret?`);
      return outcomeByStatus(answer, at, options.who);
    },
    close: asking.close,
  };
}
