/** `ctx.http`: an HTTP request as a step, over the host's own fetch. No redirects: what is sent goes where the author said. */
import { NonRetryableError, RetryAfter } from "./errors.js";
import { type Json, toJson } from "./json.js";
import type { StepContext, StepOptions } from "./options.js";

export interface HttpOptions extends StepOptions {
  /** Sent, and never recorded: they may hold secrets. */
  headers?: Record<string, string> | undefined;
  /** Sent as JSON. */
  json?: unknown;
  /** Sent as it is. */
  body?: string | undefined;
  /** The statuses that are no failure; 200 to 299 unless given. */
  ok?: readonly number[] | undefined;
}

/** What came back: the body parsed when it is JSON, else as text. */
export interface HttpResult {
  status: number;
  headers: Record<string, string>;
  body: any;
}

/** A request has failed and may be tried again; `code` is the status, null when there was no answer. */
class HttpError extends Error {
  override readonly name = "HttpError";

  constructor(
    message: string,
    readonly code: number | null = null,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

interface HttpOperation {
  kind: "http";
  input: Json;
  execute(step: StepContext): Promise<HttpResult>;
}

const MAX_BODY_BYTES = 2 * 1024 * 1024;
/** Statuses below 500 at which another attempt may help. */
const MAY_PASS = [408, 425, 429];
const SAFE = ["GET", "HEAD", "OPTIONS"];
const SHOWN = 500;

/** The request as an operation. Throws TypeError when it is none that fetch could make. */
export function httpOperation(name: string, method: string, url: string | URL, options: HttpOptions): HttpOperation {
  const { headers = {}, json, body, ok = null } = options;
  const address = readUrl(name, url);
  if (json !== undefined && body !== undefined) throw new TypeError(`the step '${name}' takes json or a body, not both`);
  const sent = new Headers(headers);
  if (json !== undefined && !sent.has("content-type")) sent.set("content-type", "application/json");
  const given = json === undefined ? null : toJson(json, `the json of the step '${name}'`);
  const content = json === undefined ? body : JSON.stringify(given);
  const verb = String(method).toUpperCase();
  const settings = { method: verb, redirect: "manual", ...(content === undefined ? {} : { body: content }) } as const;
  // What fetch would refuse is refused at the call.
  new Request(address, { ...settings, headers: sent });
  const what = `${verb} ${address.href}`;
  return {
    kind: "http",
    input: { method: verb, url: address.href, ...(json !== undefined ? { json: given } : body !== undefined ? { body } : {}) },
    async execute(step) {
      const own = new Headers(sent);
      if (!SAFE.includes(verb) && !own.has("idempotency-key")) own.set("idempotency-key", percentEncoded(step.idempotencyKey));
      const response = await fetch(address, { ...settings, headers: own, signal: step.signal }).catch((error: unknown) => {
        throw new HttpError(`${what}: ${reason(error)}`, null, { cause: error });
      });
      const text = await readText(what, response);
      const isOk = ok === null ? response.ok : ok.includes(response.status);
      if (!isOk) throw failure(what, response, text);
      return { status: response.status, headers: Object.fromEntries(response.headers), body: readBody(response, text) };
    },
  };
}

function readUrl(name: string, url: unknown): URL {
  const address = URL.canParse(String(url)) ? new URL(String(url)) : null;
  if (address === null || !/^https?:$/.test(address.protocol)) throw new TypeError(`the step '${name}': '${String(url).slice(0, 200)}' is no http or https URL`);
  if (address.username !== "" || address.password !== "") throw new TypeError(`the step '${name}': a URL holds no user and password, for it is recorded; give them in a header`);
  address.hash = "";
  return address;
}

/** An instance's id and a key may hold any character, and a header may not. */
function percentEncoded(key: string): string {
  return encodeURIComponent(key).replaceAll("%3A", ":");
}

/** fetch says only that it failed; its cause says why. */
function reason(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}

async function readText(what: string, response: Response): Promise<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let [text, size] = ["", 0];
  try {
    for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
      size += chunk.length;
      if (size > MAX_BODY_BYTES) throw new NonRetryableError(`${what} was answered with more than ${MAX_BODY_BYTES} bytes`);
      text += decoder.decode(chunk, { stream: true });
    }
    return text + decoder.decode();
  } catch (error) {
    if (error instanceof NonRetryableError) throw error;
    const code = error instanceof TypeError ? (error as { code?: unknown }).code : undefined;
    if (code === "ERR_ENCODING_INVALID_ENCODED_DATA") throw new NonRetryableError(`${what} was answered with bytes that are no UTF-8 text`);
    throw new HttpError(`${what}: ${reason(error)}`, null, { cause: error });
  }
}

function readBody(response: Response, text: string): unknown {
  if (!/^application\/(?:[\w.+-]+\+)?json\b/i.test(response.headers.get("content-type") ?? "")) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function failure(what: string, { status, headers }: Response, body: string): Error {
  const message = `${what} was answered ${status}${body === "" ? "" : `: ${body.slice(0, SHOWN)}`}`;
  if (status < 500 && !MAY_PASS.includes(status)) return new NonRetryableError(message);
  const wait = headers.get("retry-after") ?? "";
  return /^\d{1,6}$/.test(wait) ? new RetryAfter(Number(wait), message) : new HttpError(message, status);
}
