/** `ctx.http`: an HTTP request as a step, over the host's own fetch. */
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
}

/** What came back: the body parsed when it is JSON, else as text. */
export interface HttpResult {
  status: number;
  headers: Record<string, string>;
  body: any;
}

interface HttpOperation {
  kind: "http";
  input: Json;
  execute(step: StepContext): Promise<HttpResult>;
}

/** Statuses below 500 at which another attempt may help. */
const PASSING = [408, 425, 429];
const METHOD = /^[A-Za-z]{1,20}$/;
const SAFE = ["GET", "HEAD", "OPTIONS"];
const SHOWN = 500;

/** The request as an operation. Throws TypeError when it is none that fetch could make. */
export function httpOperation(name: string, method: string, url: string | URL, options: HttpOptions): HttpOperation {
  const { headers = {}, json, body } = options;
  if (typeof method !== "string" || !METHOD.test(method)) throw new TypeError(`the step '${name}': '${String(method).slice(0, 40)}' is no HTTP method`);
  const verb = method.toUpperCase();
  const address = URL.canParse(String(url)) ? new URL(url) : null;
  if (address === null || !/^https?:$/.test(address.protocol)) throw new TypeError(`the step '${name}': '${String(url).slice(0, 200)}' is no http or https URL`);
  if (json !== undefined && body !== undefined) throw new TypeError(`the step '${name}' takes json or body, not both`);
  const sent = new Headers(headers);
  if (json !== undefined && !sent.has("content-type")) sent.set("content-type", "application/json");
  const content = json === undefined ? body : JSON.stringify(toJson(json, `the json of the step '${name}'`));
  const recorded = new URL(address);
  [recorded.username, recorded.password] = ["", ""];
  return {
    kind: "http",
    input: { method: verb, url: recorded.href, ...(json !== undefined ? { json: toJson(json) } : body !== undefined ? { body } : {}) },
    async execute(step) {
      const own = new Headers(sent);
      if (!SAFE.includes(verb) && !own.has("idempotency-key")) own.set("idempotency-key", step.idempotencyKey);
      const response = await fetch(address, { method: verb, headers: own, signal: step.signal, ...(content === undefined ? {} : { body: content }) });
      const text = await response.text();
      if (!response.ok) throw failure(`${verb} ${recorded.href}`, response, text);
      return { status: response.status, headers: Object.fromEntries(response.headers), body: isJson(response) && text !== "" ? JSON.parse(text) : text };
    },
  };
}

function isJson(response: Response): boolean {
  return /^application\/(?:[\w.+-]+\+)?json\b/i.test(response.headers.get("content-type") ?? "");
}

function failure(what: string, response: Response, body: string): Error {
  const message = `${what} was answered ${response.status}${body === "" ? "" : `: ${body.slice(0, SHOWN)}`}`;
  const isPassing = response.status >= 500 || PASSING.includes(response.status);
  if (!isPassing) return new NonRetryableError(message);
  const wait = response.headers.get("retry-after") ?? "";
  return /^\d{1,6}$/.test(wait) ? new RetryAfter(message, Number(wait)) : new Error(message);
}
