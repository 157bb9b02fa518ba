// What a test knows of something that it changes while others rely on it.

/** Its versions: while a change is under way, the one before and the one to come may both hold. */
export class Facts<T> {
  readonly versions: T[];
  /** The last one that is known to have held. */
  certain = 0;

  constructor(first: T) {
    this.versions = [first];
  }

  get latest(): number {
    return this.versions.length - 1;
  }

  get now(): T {
    return this.versions[this.certain]!;
  }

  begin(next: T): void {
    this.versions.push(next);
  }

  end(): void {
    this.certain = this.latest;
  }

  since(version: number): T[] {
    return this.versions.slice(version);
  }
}
