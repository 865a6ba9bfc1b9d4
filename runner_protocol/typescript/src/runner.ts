/** A runner: answers the engine's requests with the workflows it was given. */
import { Catalog } from "./catalog.js";
import { describeError } from "./errors.js";
import { type Line, writeLine } from "./lines.js";
import type { Action, Description } from "./messages.js";
import { MalformedRequestError, readRequest } from "./requests.js";
import type { ServeOptions, ServerHandle } from "./server.js";
import { SignatureError, signatureCheck } from "./signatures.js";
import { accepts, NDJSON, readable, written } from "./stream.js";
import { type Signals, Turn } from "./turn.js";
import type { WorkflowDefinition } from "./workflow.js";

export interface RunnerOptions {
  /** False answers one action a turn, also an engine that reads streams; true unless given. */
  stream?: boolean | undefined;
  /**
   * With them, or with those of PYLON_WORKFLOW_RUNNER_SECRETS (with commas between), only requests are answered that were signed
   * with one of them within the last five minutes; all others get 401. Give the engine the same. A secret is `whsec_` and base64 of
   * 24 to 64 bytes. `handleRequest` and `stream` are for this process, and ask for none.
   */
  secrets?: readonly string[] | undefined;
}

/** The functions stand on their own: `export const POST = runner.fetch` works. */
export interface WorkflowRunner {
  /** The web-standard handler, for Bun, Deno, Workers, Hono, Next.js... */
  readonly fetch: (request: Request) => Promise<Response>;
  /** From a parsed request body to one action. Throws MalformedRequestError. */
  readonly handleRequest: (body: unknown) => Promise<Action>;
  /** From a parsed request body to the actions of a stream, as they are made. Throws MalformedRequestError. */
  readonly stream: (body: unknown) => AsyncIterable<Action>;
  /**
   * Starts a node:http server. Port and host default to those of PYLON_WORKFLOW_RUNNER_URL, or 127.0.0.1:9876;
   * port 0 lets the system choose.
   */
  readonly serve: (port?: number, options?: ServeOptions) => Promise<ServerHandle>;
}

/** An HTTP answer, whatever the server. */
export interface Answer {
  status: number;
  headers: Record<string, string>;
  body: string | AsyncGenerator<string, void, void>;
}

/** The value of a request's header, or null where it has none of that name. */
export type Header = (name: string) => string | null;

/** Answers a body; null stands for one that was too large. */
export type Answerer = (body: Uint8Array | null, header: Header, signals: Signals) => Promise<Answer>;

type Lines = AsyncGenerator<Line, void, void>;

/** What the engine sends stays below this: a thousand records of 50 KB. */
export const MAX_REQUEST_BYTES = 64 * 1024 * 1024;
const KEEP_ALIVE_MS = 15_000;
/** A byte order mark is kept, so that the parser refuses it as every other door does. */
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Puts workflows together to a runner. Throws when two have one name and version, and TypeError for secrets that are none. */
export function createRunner(workflows: readonly WorkflowDefinition[], { stream = true, secrets }: RunnerOptions = {}): WorkflowRunner {
  const catalog = new Catalog(workflows);
  const checkSignature = signatureCheck(secrets);

  /** One line, or many where they are wanted and the request is not for one. */
  const take = async (body: unknown, isStream: boolean, signals: Signals): Promise<Line | Lines | Description> => {
    const request = readRequest(body);
    if (request === null) return catalog.describe();
    const definition = catalog.find(request);
    if (typeof definition === "string") return writeLine({ action: "defer", retry_after: "5s", reason: definition });
    const turn = new Turn(definition, request, signals);
    if (request.member !== null) return await turn.member();
    return isStream ? turn.lines() : await turn.action();
  };

  const answer: Answerer = async (body, header, signals) => {
    if (body === null) return problem(413, `the request is larger than ${MAX_REQUEST_BYTES} bytes`);
    try {
      const signed = { id: header("webhook-id"), timestamp: header("webhook-timestamp"), signature: header("webhook-signature") };
      await checkSignature?.(signed, body, Date.now());
      const taken = await take(parse(body), stream && accepts(header("accept"), NDJSON), signals);
      if ("action" in taken) return ok("text" in taken ? taken.text : JSON.stringify(taken));
      return { status: 200, headers: { "content-type": NDJSON }, body: written(taken, KEEP_ALIVE_MS) };
    } catch (thrown) {
      if (thrown instanceof SignatureError) return problem(401, `this runner answers signed requests only: ${thrown.message}`);
      if (thrown instanceof MalformedRequestError) return problem(400, thrown.message, { field: thrown.field });
      return problem(500, `the runner kit failed: ${describeError(thrown).message}`);
    }
  };

  return {
    async fetch(request) {
      if (request.method !== "POST") return new Response(METHOD_NOT_ALLOWED.body as string, METHOD_NOT_ALLOWED);
      const left = new AbortController();
      // Some runtimes give a request no signal.
      request.signal?.addEventListener("abort", () => left.abort(request.signal.reason), { once: true });
      if (request.signal?.aborted) left.abort(request.signal.reason);
      const signals = { ...alwaysThere(), gone: left.signal };
      const { status, headers, body } = await answer(await readBody(request), (name) => request.headers.get(name), signals);
      return new Response(typeof body === "string" ? body : readable(body, () => left.abort()), { status, headers });
    },
    async handleRequest(body) {
      const taken = await take(copied(body), false, alwaysThere());
      return ("text" in taken ? taken.action : taken) as Action;
    },
    async *stream(body) {
      const taken = await take(copied(body), true, alwaysThere());
      if (!("action" in taken)) for await (const { action } of taken) yield action;
      else yield ("text" in taken ? taken.action : taken) as Action;
    },
    serve: async (port, options) => {
      // Loaded only here, so that the kit runs where there is no node:http.
      const { serve } = await import("./server.js");
      return await serve(answer, port, options);
    },
  };
}

export const METHOD_NOT_ALLOWED: Answer = problem(405, "a runner answers POST only", {}, { allow: "POST" });

/** As if it had come over the wire: the workflow gets its own copy and cannot change the caller's. */
function copied(body: unknown): unknown {
  return body === undefined ? body : JSON.parse(JSON.stringify(body));
}

/** Signals of a turn's own: Node takes many listeners of one for a leak. */
function alwaysThere(): Signals {
  return { gone: new AbortController().signal, closing: new AbortController().signal };
}

function ok(body: string): Answer {
  return { status: 200, headers: { "content-type": "application/json; charset=utf-8" }, body };
}

/** No `action` in it: the engine takes it for a runner that is unavailable. */
function problem(status: number, error: string, more: object = {}, headers: Record<string, string> = {}): Answer {
  return { ...ok(JSON.stringify({ error, ...more })), status, headers: { ...ok("").headers, ...headers } };
}

function parse(body: Uint8Array): unknown {
  try {
    return JSON.parse(UTF8.decode(body));
  } catch (thrown) {
    throw new MalformedRequestError("", `is not JSON in UTF-8: ${describeError(thrown).message}`);
  }
}

/** The body, or null when it is too large. */
async function readBody(request: Request): Promise<Uint8Array | null> {
  if (Number(request.headers.get("content-length") ?? 0) > MAX_REQUEST_BYTES) return null;
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of (request.body ?? []) as AsyncIterable<Uint8Array>) {
    size += chunk.length;
    if (size > MAX_REQUEST_BYTES) return null;
    chunks.push(chunk);
  }
  const body = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    body.set(chunk, offset);
    offset += chunk.length;
  }
  return body;
}
