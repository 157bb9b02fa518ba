// Shows what passes on the page's sockets: the client library opens them, and has no need to tell. Whose socket it is, is
// told by the token that it is opened with.

export interface Passed {
  way: 'in' | 'out' | 'note';
  text: string;
}

type Watcher = (passed: Passed) => void;

const watchers = new Map<string, Watcher>();
const Plain = globalThis.WebSocket;

class WatchedSocket extends Plain {
  readonly #tell: Watcher;

  constructor(url: string | URL, protocols: string | string[] = []) {
    super(url, protocols);
    const token = [protocols].flat().find((each) => each.startsWith('bearer.'));
    this.#tell = watchers.get(token?.slice('bearer.'.length) ?? '') ?? (() => {});
    const { pathname, search } = new URL(url);
    this.#tell({ way: 'note', text: `connects: ${pathname}${search}` });
    this.addEventListener('message', ({ data }) => this.#tell({ way: 'in', text: String(data) }));
    this.addEventListener('close', ({ code }) => this.#tell({ way: 'note', text: `closed: ${code}` }));
  }

  override send(text: string): void {
    this.#tell({ way: 'out', text });
    super.send(text);
  }
}

/** From then on, sockets opened with this token are watched. */
export function watchToken(token: string, watcher: Watcher): void {
  globalThis.WebSocket = WatchedSocket;
  watchers.set(token, watcher);
}
