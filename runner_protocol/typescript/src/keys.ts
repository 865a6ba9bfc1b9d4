/** Names and keys (PROTOCOL.md section 1): a key is a record's identity within a run, assigned when a helper is called. */

/** A name that the helpers refuse; the message says which rule it breaks. */
export class NameError extends TypeError {
  override readonly name = "NameError";
}

const MAX_NAME_LENGTH = 128;
const RESERVED = /^(?:event|sleep):/;

/** Throws NameError unless `name` may be given to a helper; `what` says whose name it is, `isKeyed` whether it makes a key. */
export function checkName(what: string, name: unknown, { isKeyed = true } = {}): asserts name is string {
  const whose = `${/^[aeiou]/.test(what) ? "an" : "a"} ${what}'s name`;
  if (typeof name !== "string") throw new NameError(`${whose} must be a string, not ${typeof name}`);
  const shown = JSON.stringify(name.slice(0, 60));
  if (name === "") throw new NameError(`${whose} must not be empty`);
  // Code points, as every other kit counts; UTF-16 units are an upper bound that is cheap to look at first.
  if (name.length > MAX_NAME_LENGTH && [...name].length > MAX_NAME_LENGTH) {
    throw new NameError(`${whose} has at most ${MAX_NAME_LENGTH} characters: ${shown}...`);
  }
  if (!name.isWellFormed()) throw new NameError(`${whose} holds half a character (a lone surrogate): ${shown}`);
  if (!isKeyed) return;
  const mark = /[#[\]/]/.exec(name)?.[0];
  if (mark !== undefined) throw new NameError(`${whose} must not contain '${mark}', which keys use: ${shown}`);
  const prefix = RESERVED.exec(name)?.[0];
  if (prefix !== undefined) throw new NameError(`${whose} must not begin with '${prefix}', which keys use: ${shown}`);
}

/** The keys taken in one run. */
export class Keys {
  readonly #taken = new Set<string>();
  readonly #last = new Map<string, number>();

  /** Takes the first free one of `base`, `base#2`, `base#3`... */
  take(base: string): string {
    const key = this.firstFree(base);
    this.#taken.add(key);
    return key;
  }

  /** The key that `take` would give. */
  firstFree(base: string): string {
    if (!this.#taken.has(base)) return base;
    // A loop of a thousand steps of one name must not count up from 2 each time.
    let number = this.#last.get(base) ?? 2;
    while (this.#taken.has(`${base}#${number}`)) number += 1;
    this.#last.set(base, number);
    return `${base}#${number}`;
  }
}
