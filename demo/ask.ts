// One HTTP request with JSON in and out, for whoever asks somebody in the demo. What isn't a success is an error.

const PATIENCE_MS = 10_000;

export class Refusal extends Error {
  readonly status: number;
  constructor(what: string, status: number, text: string) {
    super(`${what} is answered with ${status}: ${text}`);
    this.status = status;
  }
}

/** Throws an Error that says who was asked for what, and what came of it. */
export async function ask(
  method: string,
  url: string,
  { bearer, body }: { bearer?: string; body?: object } = {},
): Promise<{ status: number; body: unknown }> {
  const what = `${method} ${url}`;
  const response = await fetch(url, {
    method,
    headers: {
      ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }),
      ...(body && { 'content-type': 'application/json' }),
    },
    body: body ? JSON.stringify(body) : null,
    signal: AbortSignal.timeout(PATIENCE_MS),
  }).catch((error: Error) => {
    throw new Error(
      `${what} is not answered: ${(error.cause as Error | undefined)?.message ?? error.message}`,
    );
  });
  const text = await response.text();
  if (!response.ok) throw new Refusal(what, response.status, text);
  return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
}
