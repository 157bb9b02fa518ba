// A user's program: it knows its customer's server and imid, has a session there and a token here, and never an API key.

import { EventEmitter, once } from 'node:events';
import {
  createClient,
  type Client as Imid,
  type Message,
  type Sent,
  type Welcome,
} from '../src/client/index.ts';
import { ask } from './ask.ts';
import type { Greeting } from './backend.ts';
import type { Address, Contact } from './imid.ts';
import type { Scheme, Tell } from './transcript.ts';

/** A message, as the play compares it. */
export type Heard = Pick<Message, 'seq' | 'messageId'> & { from: Address; content: { text: string } };

const PATIENCE_MS = 10_000;

interface ClientOptions {
  name: string;
  scheme: Scheme;
  /** What the transcript calls it. */
  label: string;
  device: string;
  imidUrl: string;
  backendUrl: string;
  tell: Tell;
}

export class Client {
  readonly #options: ClientOptions;
  readonly #arrived: Message[] = [];
  #reads = 0;
  /** What outlives the program. */
  readonly #disk = new Map<string, string>();
  readonly #bell = new EventEmitter();
  readonly #fault = new AbortController();
  #imid: Imid | undefined;

  #session = '';
  #token = '';
  #contacts: Contact[] = [];

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  /** The customer's own id of the user. */
  get id(): string {
    return this.name.toLowerCase();
  }

  get device(): string {
    return this.#options.device;
  }

  /** How far it has its inbox. */
  get seq(): number {
    return this.#imid?.acked ?? 0;
  }

  async signUp(): Promise<void> {
    this.#tell(`→ backend: sign me up as ${this.id}`);
    await this.#greet('/signup');
  }

  async logIn(): Promise<void> {
    this.#tell(`→ backend: log me in as ${this.id}`);
    await this.#greet('/login');
  }

  /** Gets a token, and gives back whom it says it is for. */
  async fetchToken(): Promise<{ sub: string; scheme: string }> {
    this.#tell('→ backend: a token, please');
    const body = { deviceId: this.device };
    this.#token = ((await this.#askBackend('POST', '/token', body)) as { token: string }).token;
    const [, claims = ''] = this.#token.split('.');
    const { sub, scheme } = JSON.parse(Buffer.from(claims, 'base64url').toString()) as {
      sub: string;
      scheme: string;
    };
    this.#tell(`← a token for ${sub}, ${scheme}`);
    return { sub, scheme };
  }

  async fetchContacts(): Promise<Contact[]> {
    this.#tell('→ backend: my contacts, please');
    this.#contacts = (await this.#askBackend('GET', '/contacts')) as Contact[];
    for (const { displayName, ...address } of this.#contacts)
      this.#tell(`← ${displayName} is ${JSON.stringify(address)}`);
    return this.#contacts;
  }

  /** How its contacts say to write to somebody. */
  addressOf(name: string): Address {
    const contact = this.#contacts.find(({ displayName }) => displayName === name);
    if (!contact) throw new Error(`${this.name} doesn't know ${name}.`);
    const { displayName: _displayName, ...address } = contact;
    return address;
  }

  /** Who imid takes it for. */
  async askWho(): Promise<object> {
    const { scheme, uid, imId } = (await this.askImid('')) as Record<string, unknown>;
    return { scheme, ...(uid === undefined ? { imId } : { uid }) };
  }

  /** Asks imid about itself: '', '/contacts', '/messages'. */
  async askImid(path: string): Promise<unknown> {
    return (await ask('GET', `${this.#options.imidUrl}/v1/me${path}`, { bearer: this.#token })).body;
  }

  /** Connects, behind what it has; at first behind what its device has acked, or from the beginning of its inbox. */
  async connect(from: 'acked' | 'beginning' = 'acked'): Promise<Welcome> {
    this.#tell(`→ connect${this.#imid ? ` after #${this.seq}` : from === 'beginning' ? ' after #0' : ''}`);
    this.#imid ??= this.#create(from);
    const welcome = await this.#inTime(this.#imid.connect(), 'the welcome');
    this.#tell(`← welcome, resumed: ${welcome.resumed}`);
    return welcome;
  }

  /** Throws when something came that was not waited for. */
  async disconnect(): Promise<void> {
    await this.#online.close();
    this.#fault.signal.throwIfAborted();
    if (this.#arrived.length > 0) throw new Error(`Too much came: ${JSON.stringify(this.#arrived)}`);
    this.#tell('is offline');
  }

  /** Says how its device is reached while nobody looks. */
  async bindPush(pushToken: string): Promise<void> {
    this.#tell('→ imid: my phone is reached by push');
    const body = { platform: 'demo', provider: 'webhook', pushToken };
    await ask('PUT', this.#deviceUrl, { bearer: this.#token, body });
  }

  /** Nobody looks at it any more. */
  leave(): void {
    this.#tell('→ background');
    this.#online.setForeground(false);
  }

  /** Nothing is left but what is on its disk. */
  async die(): Promise<void> {
    await this.#online.close();
    this.#imid = undefined;
    this.#tell('is killed');
  }

  /** Nothing is left of the user on the device, and no push comes for it. */
  async logOut(): Promise<void> {
    this.#tell('→ imid: forget my phone');
    await ask('DELETE', this.#deviceUrl, { bearer: this.#token });
    await this.#online.logout();
    this.#tell('is logged out');
  }

  /** Has read all of the conversation, up to the message. */
  async read({ from, messageId }: Pick<Heard, 'from' | 'messageId'>): Promise<void> {
    this.#tell(`→ ${idIn(from)}: read`);
    this.#online.markRead(from, messageId);
  }

  /** Hears that somebody has read what it wrote. */
  async hearRead(): Promise<void> {
    while (this.#reads === 0) await this.#inTime(once(this.#bell, 'ring'), 'word that it is read');
    this.#reads -= 1;
    this.#tell('← it is read');
  }

  async countUnread(): Promise<number> {
    return ((await this.askImid('')) as { unread: number }).unread;
  }

  [Symbol.dispose](): void {
    void this.#imid?.close();
  }

  /** Resolves when the message is on disk. The same id again sends nothing again. */
  async send(to: Address, text: string, id?: string): Promise<Sent> {
    this.#tell(`→ ${idIn(to)}: “${text}”`);
    const sending = this.#online.send(to, { text }, id === undefined ? {} : { id });
    const sent = await this.#inTime(sending, `the answer to “${text}”`);
    this.#tell(`← sent as #${sent.seq}`);
    return sent;
  }

  /** Takes the next message. */
  async receive(): Promise<Heard> {
    while (this.#arrived.length === 0) await this.#inTime(once(this.#bell, 'ring'), 'a message');
    const { seq, messageId, ...message } = this.#arrived.shift()!;
    const [from, content] = [message.from as Address, message.content as { text: string }];
    this.#tell(`← #${seq} from ${idIn(from)}: “${content.text}”`);
    return { seq, messageId, from, content };
  }

  #create(from: 'acked' | 'beginning'): Imid {
    const imid = createClient({
      url: this.#options.imidUrl,
      deviceId: this.device,
      store: this.#disk,
      from,
      getToken: async ({ reason }) => {
        if (reason !== 'first') await this.fetchToken();
        return this.#token;
      },
    });
    imid.on('message', (message) => {
      this.#arrived.push(message);
      this.#bell.emit('ring');
    });
    imid.on('read', () => {
      this.#reads += 1;
      this.#bell.emit('ring');
    });
    imid.on('error', (error) => this.#fail(error.message));
    imid.on('state', ({ error }) => error && this.#fail(`is cut off, ${error.code}: ${error.message}`));
    return imid;
  }

  /** Whatever goes wrong is thrown at who waits next. */
  #fail(why: string): void {
    this.#fault.abort(new Error(`${this.#options.label}: ${why}`));
  }

  #inTime<T>(awaited: Promise<T>, what: string): Promise<T> {
    const late = AbortSignal.timeout(PATIENCE_MS);
    const signal = AbortSignal.any([late, this.#fault.signal]);
    signal.throwIfAborted();
    const given = Promise.withResolvers<never>();
    signal.addEventListener('abort', () =>
      given.reject(late.aborted ? new Error(`${what} did not come in time`) : (signal.reason as Error)),
    );
    return Promise.race([awaited, given.promise]);
  }

  get #online(): Imid {
    if (this.#imid?.state !== 'open') throw new Error(`${this.#options.label} is not connected.`);
    return this.#imid;
  }

  get #deviceUrl(): string {
    return `${this.#options.imidUrl}/v1/me/devices/${encodeURIComponent(this.device)}`;
  }

  #tell(text: string): void {
    this.#options.tell(this.#options.scheme, this.#options.label, text);
  }

  async #greet(door: string): Promise<void> {
    const { name, scheme } = this.#options;
    const greeting: Greeting = { id: this.id, name, scheme };
    this.#session = ((await this.#askBackend('POST', door, greeting)) as { session: string }).session;
  }

  async #askBackend(method: string, path: string, body?: object): Promise<unknown> {
    const credentials = { ...(this.#session !== '' && { bearer: this.#session }), ...(body && { body }) };
    return (await ask(method, this.#options.backendUrl + path, credentials)).body;
  }
}

function idIn(address: Address): string {
  return Object.values(address).join();
}
