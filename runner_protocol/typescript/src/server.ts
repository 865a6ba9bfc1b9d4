/** The runner on node:http (Bun and Deno have it too). */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { StepFailedError } from "./errors.js";
import { type Answer, type Answerer, type Header, MAX_REQUEST_BYTES, METHOD_NOT_ALLOWED } from "./runner.js";

export interface ServeOptions {
  /** The address to listen on. */
  host?: string;
}

/** A running server. */
export interface ServerHandle {
  readonly host: string;
  readonly port: number;
  /** What to give the engine. */
  readonly url: string;
  /** Takes no more requests and starts no more steps; resolves when those that run have ended and are answered. */
  close(): Promise<void>;
}

const VARIABLE = "PYLON_WORKFLOW_RUNNER_URL";
const DEFAULT_URL = "http://127.0.0.1:9876/run";

export async function serve(answer: Answerer, port?: number, options: ServeOptions = {}): Promise<ServerHandle> {
  const configured = configuredUrl();
  const wanted = port ?? portOf(configured);
  const host = options.host ?? configured.hostname.replace(/^\[|\]$/g, "");
  const closing = new AbortController();
  const server = createServer((request, response) => {
    // A connection that is kept alive would keep a server that closes alive too.
    response.once("close", () => void setImmediate(() => closing.signal.aborted && server.closeIdleConnections()));
    // A caller that hung up while its body was read, or while it was answered, needs nothing more.
    respond(answer, request, response, closing.signal).catch(() => response.destroy());
  });
  server.keepAliveTimeout = 75_000;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => reject(cannotListen(error, host, wanted)));
    server.listen(wanted, host, resolve);
  });
  process.on("unhandledRejection", spareStepFailures);
  const actual = (server.address() as AddressInfo).port;
  return {
    host,
    port: actual,
    url: `http://${host.includes(":") ? `[${host}]` : host}:${actual}/run`,
    close: () =>
      new Promise((resolve, reject) => {
        process.off("unhandledRejection", spareStepFailures);
        closing.abort();
        server.close((error) => (error === undefined ? resolve() : reject(error)));
        server.closeIdleConnections();
      }),
  };
}

async function respond(answer: Answerer, request: IncomingMessage, response: ServerResponse, closing: AbortSignal): Promise<void> {
  const gone = new AbortController();
  response.once("close", () => {
    if (!response.writableFinished) gone.abort();
  });
  if (request.method !== "POST") {
    request.resume();
    return await write(response, METHOD_NOT_ALLOWED);
  }
  const body = await readBody(request);
  if (body === null) response.setHeader("connection", "close");
  await write(response, await answer(body, headerOf(request), { gone: gone.signal, closing }));
}

function headerOf(request: IncomingMessage): Header {
  return (name) => {
    const value = request.headers[name] ?? null;
    return Array.isArray(value) ? value.join(", ") : value;
  };
}

async function write(response: ServerResponse, { status, headers, body }: Answer): Promise<void> {
  if (typeof body === "string") {
    response.writeHead(status, { ...headers, "content-length": Buffer.byteLength(body) });
    response.end(body);
    return;
  }
  response.writeHead(status, headers);
  // The caller sees at once that it is answered, however long the first step takes.
  response.flushHeaders();
  for await (const chunk of body) {
    if (response.destroyed) return;
    // Who reads slowly slows the workflow down.
    if (!response.write(chunk) && !(await drained(response))) return;
  }
  response.end();
}

/** Whether there is room again; false when the connection has closed. */
function drained(response: ServerResponse): Promise<boolean> {
  return new Promise((resolve) => {
    const onDrain = (): void => done(true);
    const onClose = (): void => done(false);
    const done = (isOpen: boolean): void => {
      response.off("drain", onDrain).off("close", onClose);
      resolve(isOpen);
    };
    response.on("drain", onDrain).on("close", onClose);
    if (response.destroyed) done(false);
  });
}

async function readBody(request: IncomingMessage): Promise<Buffer | null> {
  if (Number(request.headers["content-length"] ?? 0) > MAX_REQUEST_BYTES) return null;
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_REQUEST_BYTES) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function configuredUrl(): URL {
  const text = process.env[VARIABLE] || DEFAULT_URL;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol)) throw new TypeError(`${VARIABLE} must be an http URL such as ${DEFAULT_URL}, not '${text}'`);
  return url;
}

function cannotListen(error: NodeJS.ErrnoException, host: string, port: number): Error {
  const reasons: Record<string, string> = { EADDRINUSE: "the address is in use", EACCES: "that takes more rights", EADDRNOTAVAIL: "this machine has no such address" };
  const reason = reasons[error.code ?? ""] ?? error.message;
  const sentence = new Error(`the runner cannot listen on ${host} port ${port}: ${reason}; stop what listens there, or name another port in ${VARIABLE}`, { cause: error });
  sayOnly(sentence);
  return sentence;
}

/** Lets the error, when nobody catches it, end the process with its sentence in place of Node's dump. */
function sayOnly(error: Error): void {
  const onUncaught = (thrown: unknown): void => {
    if (thrown !== error) throw thrown;
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  };
  process.prependListener("uncaughtException", onUncaught);
  // Uncaught it comes before the next turn of the event loop, or never.
  setImmediate(() => process.off("uncaughtException", onUncaught));
}

function portOf(url: URL): number {
  return url.port !== "" ? Number(url.port) : url.protocol === "https:" ? 443 : 80;
}

/**
 * A step that failed finally while no branch awaited it yet is no reason to end the process and every other instance's turn
 * with it: the workflow still gets the error when it comes to await it. All else goes on as if this listener were not there.
 */
function spareStepFailures(reason: unknown): void {
  if (reason instanceof StepFailedError || process.listeners("unhandledRejection").some((other) => other !== spareStepFailures)) return;
  throw reason;
}
