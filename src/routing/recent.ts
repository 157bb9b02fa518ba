// Remembers the last that it was given. By age alone, in two generations, which costs a fraction of keeping count of use.

export class Recent<K, V> {
  readonly #half: number;
  #young = new Map<K, V>();
  #old = new Map<K, V>();

  /** Remembers at least the last half of `max`, and at most `max`. */
  constructor(max: number) {
    this.#half = Math.ceil(max / 2);
  }

  get(key: K): V | undefined {
    return this.#young.get(key) ?? this.#old.get(key);
  }

  set(key: K, value: V): void {
    this.#young.set(key, value);
    if (this.#young.size < this.#half) return;
    this.#old = this.#young;
    this.#young = new Map();
  }
}
