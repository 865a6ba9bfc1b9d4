/** Random numbers that every replay draws again: `ctx.random()` and `ctx.uuid()`. */

/**
 * Numbers from a text, in place of Math.random. Each record handed out starts them anew (`restart`), so that what a step's
 * body drew, which no replay runs again, leaves no trace in what comes after it.
 */
export class Random {
  readonly #seed: string;
  #restarts = 0;
  #draw: (() => number) | null = null;

  constructor(seed: string) {
    this.#seed = seed;
  }

  restart(): void {
    this.#restarts += 1;
    this.#draw = null;
  }

  /** A number from 0 up to, but not including, 1. */
  number(): number {
    return (this.#word() * 0x100000 + (this.#word() >>> 12)) / 2 ** 52;
  }

  /** A version 4 UUID. */
  uuid(): string {
    const words = [this.#word(), this.#word(), this.#word(), this.#word()];
    const hex = words.map((word) => word.toString(16).padStart(8, "0")).join("");
    const variant = (8 + (parseInt(hex.charAt(16), 16) & 3)).toString(16);
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20)}`;
  }

  #word(): number {
    this.#draw ??= generator(`${this.#seed}:${this.#restarts}`);
    return this.#draw();
  }
}

/** Small fast counter (sfc32) over a 128-bit mix of the text; each call gives 32 bits. */
function generator(text: string): () => number {
  let [a, b, c, d] = [mix(text, 0x9e3779b9), mix(text, 0x85ebca6b), mix(text, 0xc2b2ae35), 1];
  const next = (): number => {
    const sum = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  for (let round = 0; round < 16; round += 1) next();
  return next;
}

function mix(text: string, start: number): number {
  let hash = start;
  for (let index = 0; index < text.length; index += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
    hash ^= hash >>> 15;
  }
  return hash | 0;
}
