/** A runner: answers the engine's requests with the workflows it was given. */
import { describeError } from "./errors.js";
import type { Action, Fail } from "./messages.js";
import { MalformedRequestError, readRequest } from "./requests.js";
import type { ServeOptions, ServerHandle } from "./server.js";
import { takeTurn } from "./turn.js";
import type { WorkflowDefinition } from "./workflow.js";

/** The functions stand on their own: `export const POST = runner.fetch` works. */
export interface WorkflowRunner {
  /** The web-standard handler, for Bun, Deno, Workers, Hono, Next.js... */
  readonly fetch: (request: Request) => Promise<Response>;
  /** From a parsed request body to the action. Throws MalformedRequestError. */
  readonly handleRequest: (body: unknown) => Promise<Action>;
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
  body: string;
}

/** What the engine sends stays below this: a thousand records of 50 KB. */
export const MAX_REQUEST_BYTES = 64 * 1024 * 1024;
/** What the engine reads (PROTOCOL.md section 2). */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
/** Some runtimes give a request no signal. */
const NEVER = new AbortController().signal;
/** A byte order mark is kept, so that the parser refuses it as every other door does. */
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Puts workflows together to a runner. Throws when two have one name. */
export function createRunner(workflows: readonly WorkflowDefinition[]): WorkflowRunner {
  const named = new Map<string, WorkflowDefinition>();
  for (const definition of workflows) {
    if (named.has(definition.name)) throw new TypeError(`two workflows are named '${definition.name}'`);
    named.set(definition.name, definition);
  }

  const advance = async (body: unknown, signal: AbortSignal): Promise<Action> => {
    const request = readRequest(body);
    const definition = named.get(request.workflow_name);
    if (definition !== undefined) return await takeTurn(definition, request, signal);
    return { action: "defer", retry_after: "5s", reason: `unknown workflow '${request.workflow_name}'` };
  };

  const answer = async (body: Uint8Array | null, signal: AbortSignal): Promise<Answer> => {
    if (body === null) return problem(413, `the request is larger than ${MAX_REQUEST_BYTES} bytes`);
    try {
      return written(await advance(parse(body), signal));
    } catch (thrown) {
      if (thrown instanceof MalformedRequestError) return problem(400, thrown.message, { field: thrown.field });
      return problem(500, `the runner kit failed: ${describeError(thrown).message}`);
    }
  };

  return {
    async fetch(request) {
      const { status, headers, body } =
        request.method === "POST" ? await answer(await readBody(request), request.signal ?? NEVER) : METHOD_NOT_ALLOWED;
      return new Response(body, { status, headers });
    },
    // As if it had come over the wire: the workflow gets its own copy and cannot change the caller's.
    handleRequest: async (body) => await advance(body === undefined ? body : JSON.parse(JSON.stringify(body)), NEVER),
    serve: async (port, options) => {
      // Loaded only here, so that the kit runs where there is no node:http.
      const { serve } = await import("./server.js");
      return await serve(answer, port, options);
    },
  };
}

export const METHOD_NOT_ALLOWED: Answer = problem(405, "a runner answers POST only", {}, { allow: "POST" });

function written(action: Action): Answer {
  const body = JSON.stringify(action);
  // A code unit takes three bytes at most: only a long answer has to be measured.
  if (body.length * 3 <= MAX_ANSWER_BYTES) return ok(body);
  const size = new TextEncoder().encode(body).length;
  return ok(size <= MAX_ANSWER_BYTES ? body : JSON.stringify(tooLarge(action, size)));
}

function tooLarge(action: Action, size: number): Fail {
  const message = `the answer has ${size} bytes, and the engine takes ${MAX_ANSWER_BYTES}; store the data elsewhere and return where it is`;
  const fail: Fail = { action: "fail", error: { type: "ResultTooLargeError", message }, retryable: false };
  if (action.action !== "step_complete") return fail;
  return { ...fail, step_name: action.step_name, key: action.key, on_exhausted: "throw" };
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
