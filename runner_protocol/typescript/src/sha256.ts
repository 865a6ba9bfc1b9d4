/**
 * HMAC-SHA256 (FIPS 180-4, RFC 2104) of short texts, without waiting: Web Crypto has it only as a promise, and a workflow's code
 * may wait for nothing but helpers.
 */

const BLOCK_BYTES = 64;
const ROUNDS = 64;
const ENCODER = new TextEncoder();

/** The first 32 bits of the fractional parts of the square and the cube roots of the first primes. */
const [INITIAL, CONSTANTS] = rootsOfPrimes();

/** HMAC-SHA256 as 64 hexadecimal digits. */
export function hmacSha256(key: string, message: string): string {
  let secret = ENCODER.encode(key);
  if (secret.length > BLOCK_BYTES) secret = sha256(secret);
  const pad = (byte: number): Uint8Array => Uint8Array.from({ length: BLOCK_BYTES }, (_, index) => (secret[index] ?? 0) ^ byte);
  const inner = sha256(joined(pad(0x36), ENCODER.encode(message)));
  return [...sha256(joined(pad(0x5c), inner))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function sha256(message: Uint8Array): Uint8Array<ArrayBuffer> {
  const state = Uint32Array.from(INITIAL);
  const blocks = padded(message);
  const words = new Uint32Array(ROUNDS);
  for (let offset = 0; offset < blocks.byteLength; offset += BLOCK_BYTES) {
    for (let index = 0; index < 16; index += 1) words[index] = blocks.getUint32(offset + 4 * index);
    mix(state, words);
  }
  const digest = new DataView(new ArrayBuffer(32));
  state.forEach((word, index) => digest.setUint32(4 * index, word));
  return new Uint8Array(digest.buffer);
}

/** The message, a one bit, zeros, and its length in bits: whole blocks. */
function padded(message: Uint8Array): DataView {
  const size = Math.ceil((message.length + 9) / BLOCK_BYTES) * BLOCK_BYTES;
  const bytes = new Uint8Array(size);
  bytes.set(message);
  bytes[message.length] = 0x80;
  const view = new DataView(bytes.buffer);
  view.setUint32(size - 8, Math.floor(message.length / 2 ** 29));
  view.setUint32(size - 4, (message.length << 3) >>> 0);
  return view;
}

function mix(state: Uint32Array, words: Uint32Array): void {
  const word = (index: number): number => words[index] as number;
  for (let index = 16; index < ROUNDS; index += 1) {
    const [early, late] = [word(index - 15), word(index - 2)];
    const first = turned(early, 7) ^ turned(early, 18) ^ (early >>> 3);
    const second = turned(late, 17) ^ turned(late, 19) ^ (late >>> 10);
    words[index] = word(index - 16) + first + word(index - 7) + second;
  }
  let [a, b, c, d, e, f, g, h] = state as unknown as [number, number, number, number, number, number, number, number];
  for (let index = 0; index < ROUNDS; index += 1) {
    const chosen = (e & f) ^ (~e & g);
    const added = (h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + chosen + (CONSTANTS[index] as number) + word(index)) | 0;
    const most = (a & b) ^ (a & c) ^ (b & c);
    const more = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + most;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + added) | 0, c, b, a, (added + more) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((value, index) => {
    state[index] = (state[index] as number) + value;
  });
}

function turned(word: number, bits: number): number {
  return (word >>> bits) | (word << (32 - bits));
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  const whole = new Uint8Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}

function rootsOfPrimes(): [readonly number[], readonly number[]] {
  const primes: number[] = [];
  for (let number = 2; primes.length < ROUNDS; number += 1) if (primes.every((prime) => number % prime !== 0)) primes.push(number);
  const fraction = (root: number): number => Math.floor((root - Math.floor(root)) * 2 ** 32);
  return [primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime))), primes.map((prime) => fraction(Math.cbrt(prime)))];
}
