// What a connection has sent and was not answered yet, by the client's own ids. What it sends twice is answered twice.

export class Unanswered {
  readonly #counts = new Map<string, number>();

  add(id: string): void {
    this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1);
  }

  /** Takes one of this id off; false when there is none. */
  take(id: string): boolean {
    const count = this.#counts.get(id);
    if (count === undefined) return false;
    if (count === 1) this.#counts.delete(id);
    else this.#counts.set(id, count - 1);
    return true;
  }
}
