/** The runner on node:http (Bun and Deno have it too). */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { StepFailedError } from "./errors.js";
import { type Answer, MAX_REQUEST_BYTES, METHOD_NOT_ALLOWED } from "./runner.js";

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
  /** Takes no more requests; resolves when those in flight are answered. */
  close(): Promise<void>;
}

/** Answers a body; null stands for one that was too large. */
export type Answerer = (body: Uint8Array | null, signal: AbortSignal) => Promise<Answer>;

const VARIABLE = "PYLON_WORKFLOW_RUNNER_URL";
const DEFAULT_URL = "http://127.0.0.1:9876/run";

export async function serve(answer: Answerer, port?: number, options: ServeOptions = {}): Promise<ServerHandle> {
  const configured = configuredUrl();
  const host = options.host ?? configured.hostname.replace(/^\[|\]$/g, "");
  const server = createServer((request, response) => {
    // A caller that hung up while its body was read, or while it was answered, needs nothing more.
    respond(answer, request, response).catch(() => response.destroy());
  });
  server.keepAliveTimeout = 75_000;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port ?? portOf(configured), host, resolve);
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
        server.close((error) => (error === undefined ? resolve() : reject(error)));
        server.closeIdleConnections();
      }),
  };
}

async function respond(answer: Answerer, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const gone = new AbortController();
  response.once("close", () => {
    if (!response.writableFinished) gone.abort();
  });
  if (request.method !== "POST") {
    request.resume();
    return write(response, METHOD_NOT_ALLOWED);
  }
  const body = await readBody(request);
  if (body === null) response.setHeader("connection", "close");
  write(response, await answer(body, gone.signal));
}

function write(response: ServerResponse, { status, headers, body }: Answer): void {
  response.writeHead(status, { ...headers, "content-length": Buffer.byteLength(body) });
  response.end(body);
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
