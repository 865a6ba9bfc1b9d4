/** Signed requests (PROTOCOL.md section 7): the headers of Standard Webhooks, checked with Web Crypto, so that any host has it. */

/** The request is not signed by who should have signed it, or not now. */
export class SignatureError extends Error {
  override readonly name = "SignatureError";
}

/** The values of the three headers; null for one that is missing. */
export interface SignatureHeaders {
  readonly id: string | null;
  readonly timestamp: string | null;
  readonly signature: string | null;
}

/** Throws SignatureError unless these headers sign this body now. */
export type CheckSignature = (headers: SignatureHeaders, body: Uint8Array, nowMs: number) => Promise<void>;

type Key = Awaited<ReturnType<typeof crypto.subtle.importKey>>;

const VARIABLE = "PYLON_WORKFLOW_RUNNER_SECRETS";
const TOLERANCE_S = 300;
const [LEAST_BYTES, MOST_BYTES] = [24, 64];
const HMAC = { name: "HMAC", hash: "SHA-256" };

/**
 * What checks requests, by these secrets, or without any given by those of the environment; null where there is none either.
 * Throws TypeError for a secret that is none, and shows nothing of it.
 */
export function signatureCheck(secrets: readonly string[] | undefined): CheckSignature | null {
  const given = secrets ?? environment();
  if (given === null) return null;
  if (!Array.isArray(given) || given.length === 0) throw new TypeError("secrets must be an array with at least one text");
  const source = secrets === undefined ? `${VARIABLE}: ` : "";
  const keys = given.map((secret, index) => readSecret(secret, `${source}secret number ${index + 1}`));
  let imported: Promise<Key[]> | null = null;

  return async (headers, body, nowMs) => {
    const head = readHead(headers, nowMs);
    imported ??= Promise.all(keys.map((key) => crypto.subtle.importKey("raw", key, HMAC, false, ["sign"])));
    const message = new Uint8Array(head.length + body.length);
    message.set(head);
    message.set(body, head.length);
    const expected = await Promise.all((await imported).map((key) => crypto.subtle.sign(HMAC, key, message)));
    const candidates = (headers.signature ?? "").split(" ");
    let isRight = false;
    for (const one of expected) {
      const text = `v1,${btoa(String.fromCharCode(...new Uint8Array(one)))}`;
      for (const candidate of candidates) isRight = isEqual(text, candidate) || isRight;
    }
    if (!isRight) throw new SignatureError("no signature of it was made with a secret that is known here");
  };
}

/** What is signed before the body. */
function readHead({ id, timestamp, signature }: SignatureHeaders, nowMs: number): Uint8Array {
  for (const [name, value] of [["webhook-id", id], ["webhook-timestamp", timestamp], ["webhook-signature", signature]] as const) {
    if (value === null || value === "") throw new SignatureError(`the header ${name} is ${value === null ? "missing" : "empty"}`);
  }
  if (!/^[0-9]{1,15}$/.test(timestamp as string)) throw new SignatureError("the header webhook-timestamp is no time in seconds since 1970");
  if (Math.abs(nowMs / 1000 - Number(timestamp)) > TOLERANCE_S) {
    throw new SignatureError(`it was signed more than ${TOLERANCE_S} s before or after the present time: look at both clocks`);
  }
  return new TextEncoder().encode(`${id}.${timestamp}.`);
}

/** Takes as long for texts that differ in their first character as for those that differ in their last. */
function isEqual(one: string, other: string): boolean {
  if (one.length !== other.length) return false;
  let difference = 0;
  for (let index = 0; index < one.length; index += 1) difference |= one.charCodeAt(index) ^ other.charCodeAt(index);
  return difference === 0;
}

function readSecret(secret: unknown, what: string): Uint8Array<ArrayBuffer> {
  const text = typeof secret === "string" ? secret.replace(/^whsec_/, "") : "";
  const isBase64 = text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text);
  const bytes = isBase64 ? Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)) : new Uint8Array();
  if (bytes.length < LEAST_BYTES || bytes.length > MOST_BYTES) {
    throw new TypeError(`${what} is none: a secret is 'whsec_' and base64 of ${LEAST_BYTES} to ${MOST_BYTES} bytes`);
  }
  return bytes;
}

function environment(): string[] | null {
  // Workers have no process.
  const value = typeof process === "undefined" ? undefined : process.env?.[VARIABLE];
  const secrets = (value ?? "").split(",").map((secret) => secret.trim()).filter((secret) => secret !== "");
  return secrets.length === 0 ? null : secrets;
}
