// A user's program: it knows its customer's server and imid, has a session there and a token here, and never an API key.

import { randomUUID } from 'node:crypto';
import { ask } from './ask.ts';
import type { Greeting } from './backend.ts';
import { Connection, type Message, type Place, type Sent, type Welcome } from './connection.ts';
import type { Address, Contact } from './imid.ts';
import type { Scheme, Tell } from './transcript.ts';

interface ClientOptions {
  name: string;
  scheme: Scheme;
  /** What the transcript calls it. */
  label: string;
  imidUrl: string;
  backendUrl: string;
  tell: Tell;
}

export class Client {
  readonly #options: ClientOptions;
  readonly #place: Place = { seq: 0 };
  #session = '';
  #token = '';
  #contacts: Contact[] = [];
  #connection: Connection | undefined;

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

  /** The last seq of its inbox that it has seen. */
  get seq(): number {
    return this.#place.seq;
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
    const body = { deviceId: this.#device };
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

  /** Asks imid about itself: '', '/contacts', '/messages'. */
  async askImid(path: string): Promise<unknown> {
    return (await ask('GET', `${this.#options.imidUrl}/v1/me${path}`, { bearer: this.#token })).body;
  }

  /** Opens a connection, behind `after`: where it was, unless told otherwise. */
  async connect(after = this.#place.epoch === undefined ? undefined : this.seq): Promise<Welcome> {
    this.#tell(`→ connect${after === undefined ? '' : ` after #${after}`}`);
    const { imidUrl } = this.#options;
    const connection = new Connection({
      imidUrl,
      token: this.#token,
      device: this.#device,
      place: this.#place,
      after,
    });
    this.#connection = connection;
    const welcome = await connection.next('welcome', 'the welcome');
    this.#tell(`← welcome, resumed: ${welcome.resumed}`);
    return welcome;
  }

  /** Throws when something came that was not waited for. */
  async disconnect(): Promise<void> {
    await this.#online.close();
    this.#connection = undefined;
    this.#tell('is offline');
  }

  [Symbol.dispose](): void {
    this.#connection?.drop();
  }

  /** Resolves when the message is on disk. The same id again sends nothing again. */
  async send(to: Address, text: string, id: string = randomUUID()): Promise<Sent> {
    this.#tell(`→ ${idIn(to)}: “${text}”`);
    this.#online.write({ type: 'send', id, to, content: { text } });
    const sent = await this.#online.next('sent', `the answer to “${text}”`);
    this.#tell(`← sent as #${sent.seq}`);
    return sent;
  }

  /** Takes the next message, and acks it. */
  async receive(): Promise<Message> {
    const message = await this.#online.next('message', 'a message');
    this.#tell(`← #${message.seq} from ${idIn(message.from)}: “${message.content.text}”`);
    this.#online.write({ type: 'ack', seq: message.seq });
    return message;
  }

  get #online(): Connection {
    if (!this.#connection) throw new Error(`${this.#options.label} is not connected.`);
    return this.#connection;
  }

  get #device(): string {
    return `device of ${this.#options.label}`;
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
