import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type Action, type HttpOptions, type ShellOptions, type StepComplete, StepFailedError, workflow } from "../src/index.js";
import { drive, turn } from "./engine.js";

const node = (code: string): [string, ...string[]] => [process.execPath, "-e", code];

function shell(command: [string, ...string[]], options: ShellOptions = {}): Promise<Action> {
  return turn((ctx) => ctx.shell("run", command, options));
}

function completed(action: Action): StepComplete {
  assert.ok(action.action === "step_complete", JSON.stringify(action));
  return action;
}

test("a command's words are given as they are, to no shell, and recorded", async () => {
  const command = node("console.log(process.argv.slice(1).join('|')); console.error('warned')").concat(["$HOME; `id`", "*"]) as [string, ...string[]];
  const action = completed(await shell(command, { timeout: "1m" }));
  assert.deepEqual(action.output, { stdout: "$HOME; `id`|*\n", stderr: "warned\n", exit_code: 0 });
  assert.deepEqual([action.kind, action.input], ["shell", { command }]);
});

test("a command has a folder, an environment that is not recorded, and an input", async () => {
  const code = "let t=''; process.stdin.on('data',(c)=>t+=c).on('end',()=>console.log(process.cwd(), process.env.SECRET, t))";
  const action = completed(await shell(node(code), { cwd: "/", env: { SECRET: "x" }, input: "read" }));
  assert.equal((action.output as { stdout: string }).stdout, "/ x read\n");
  assert.deepEqual(action.input, { command: node(code), cwd: "/", input: "read" });
});

test("a status other than 0 fails the step, unless it is one that the author takes", async () => {
  const command = node("console.log('out'); console.error('no such thing'); process.exit(3)");
  const action = await shell(command);
  assert.ok(action.action === "fail");
  assert.deepEqual([action.kind, action.input], ["shell", { command }]);
  const { stack: _, ...error } = action.error;
  assert.deepEqual(error, {
    type: "CommandError",
    message: `'${process.execPath}' exited with 3: no such thing`,
    code: 3,
    data: { stdout: "out\n", stderr: "no such thing\n", exit_code: 3 },
  });
  assert.equal(action.retryable, undefined);
  assert.deepEqual(completed(await shell(command, { ok: [0, 3] })).output, { stdout: "out\n", stderr: "no such thing\n", exit_code: 3 });
});

test("a command that is not there, that writes too much or that a signal ends fails with a sentence", async () => {
  const message = async (command: [string, ...string[]], options: ShellOptions = {}): Promise<string> => {
    const action = await shell(command, options);
    assert.ok(action.action === "fail");
    return action.error.message;
  };
  assert.equal(await message(["no-such-program-here"]), "'no-such-program-here' cannot be run: there is no such program, or no such folder to run it in");
  assert.match(await message(node("1"), { cwd: "/no/such/folder" }), /no such folder/);
  assert.match(await message(node("process.stdout.write('x'.repeat(2 ** 21))")), /wrote more than 1048576 bytes; let it write a file$/);
  assert.match(await message(node("process.kill(process.pid, 'SIGTERM')")), /was ended by SIGTERM$/);
});

test("a command whose time is over is ended, with all that it has started", { skip: process.platform === "win32" }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "runner-"));
  const file = join(folder, "late");
  // The grandchild is about to write the file when both are killed: it only does so once its parent is gone.
  const grandchild = `const parent = process.ppid; setInterval(() => { if (process.ppid !== parent) require('fs').writeFileSync(${JSON.stringify(file)}, '') }, 5)`;
  const command = node(`require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(grandchild)}], { stdio: 'inherit' }); setInterval(() => 0, 1000)`);
  const action = await shell(command, { timeout: "300ms" });
  assert.ok(action.action === "fail");
  assert.equal(action.error.message, "step 'run' timed out after 0.3 s");
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(existsSync(file), false);
  await rm(folder, { recursive: true });
});

async function overHttp(answer: (request: IncomingMessage, body: string, response: ServerResponse) => void, check: (url: string) => Promise<void>): Promise<void> {
  const server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
    request.on("end", () => answer(request, body, response));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    await check(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const http = (method: string, url: string, options: HttpOptions = {}): Promise<Action> => turn((ctx) => ctx.http("call", method, url, options), { workflow_id: "wf 1" });

test("a request is sent as the author says, recorded without its headers, and its answer read", () =>
  overHttp(
    ({ method, url, headers }, body, response) => {
      response.setHeader("content-type", "application/json; charset=utf-8");
      const seen = { method, url, body, type: headers["content-type"], token: headers["authorization"], key: headers["idempotency-key"] };
      response.end(JSON.stringify(seen));
    },
    async (url) => {
      const action = completed(await http("post", `${url}/charges?x=1#top`, { json: { amount: 5 }, headers: { authorization: "Bearer secret" } }));
      const { status, body, headers } = action.output as { status: number; body: object; headers: Record<string, string> };
      assert.equal(status, 200);
      assert.deepEqual(body, { method: "POST", url: "/charges?x=1", body: '{"amount":5}', type: "application/json", token: "Bearer secret", key: "wf%201:1:call" });
      assert.equal(headers["content-type"], "application/json; charset=utf-8");
      assert.deepEqual([action.kind, action.input], ["http", { method: "POST", url: `${url}/charges?x=1`, json: { amount: 5 } }]);
      const get = completed(await http("GET", url));
      assert.equal((get.output as { body: { key?: string } }).body.key, undefined);
      assert.deepEqual(get.input, { method: "GET", url: `${url}/` });
      const put = completed(await http("PUT", url, { body: "plain", headers: { "idempotency-key": "mine" } }));
      assert.equal((put.output as { body: { key: string; body: string } }).body.key, "mine");
      assert.deepEqual(put.input, { method: "PUT", url: `${url}/`, body: "plain" });
    },
  ));

test("an answer that is no JSON is a text, also when it says that it is JSON", () =>
  overHttp(
    ({ url }, _, response) => void response.setHeader("content-type", url === "/json" ? "application/problem+json" : "text/plain").end("älles {"),
    async (url) => {
      for (const path of ["/", "/json"]) assert.equal((completed(await http("GET", url + path)).output as { body: string }).body, "älles {");
    },
  ));

test("a status that is no success fails the step: for good, or for now", () =>
  overHttp(
    ({ url }, _, response) => {
      response.statusCode = Number(url?.slice(1));
      if (response.statusCode === 503) response.setHeader("retry-after", "7");
      if (response.statusCode === 302) response.setHeader("location", "/200");
      response.end("because");
    },
    async (url) => {
      const fails = async (status: number) => {
        const action = await http("GET", `${url}/${status}`);
        assert.ok(action.action === "fail");
        assert.equal(action.error.message, `GET ${url}/${status} was answered ${status}: because`);
        return [action.error.type, action.error.code, action.retryable, action.retry_after];
      };
      assert.deepEqual(await fails(404), ["NonRetryableError", undefined, false, undefined]);
      assert.deepEqual(await fails(302), ["NonRetryableError", undefined, false, undefined]);
      assert.deepEqual(await fails(429), ["HttpError", 429, undefined, undefined]);
      assert.deepEqual(await fails(500), ["HttpError", 500, undefined, undefined]);
      assert.deepEqual(await fails(503), ["RetryAfter", undefined, undefined, "7s"]);
      assert.equal((completed(await http("GET", `${url}/404`, { ok: [200, 404] })).output as { status: number }).status, 404);
    },
  ));

test("no answer, one that is too long and one that is no text fail with a sentence", () =>
  overHttp(
    ({ url }, _, response) => {
      if (url === "/gone") response.destroy();
      else if (url === "/slow") response.flushHeaders();
      else if (url === "/bytes") response.end(Uint8Array.of(0xff, 0xfe));
      else response.end("x".repeat(3 * 1024 * 1024));
    },
    async (url) => {
      const fails = async (address: string, options: HttpOptions = {}) => {
        const action = await http("GET", address, options);
        assert.ok(action.action === "fail");
        return [action.error.message.replace(url, ""), action.error.type, action.retryable];
      };
      assert.deepEqual(await fails(`${url}/gone`), ["GET /gone: other side closed", "HttpError", undefined]);
      assert.deepEqual(await fails(`${url}/slow`, { timeout: "100ms" }), ["step 'call' timed out after 0.1 s", "TimeoutError", undefined]);
      assert.deepEqual(await fails(`${url}/bytes`), ["GET /bytes was answered with bytes that are no UTF-8 text", "NonRetryableError", false]);
      assert.deepEqual(await fails(`${url}/long`), ["GET /long was answered with more than 2097152 bytes", "NonRetryableError", false]);
      assert.match(String((await fails("http://127.0.0.1:1/"))[0]), /ECONNREFUSED|bad port/);
    },
  ));

test("a request that is none is refused at the call", async () => {
  const wrong: [RegExp, string, string, HttpOptions?][] = [
    [/'ftp:\/\/a\/' is no http or https URL/, "GET", "ftp://a/"],
    [/'nowhere' is no http or https URL/, "GET", "nowhere"],
    [/a URL holds no user and password/, "GET", "http://me:secret@a/"],
    [/takes json or a body, not both/, "POST", "http://a/", { json: 1, body: "1" }],
    [/'G T' is not a valid HTTP method/, "g t", "http://a/"],
    [/cannot have body/, "GET", "http://a/", { json: 1 }],
    [/invalid header/i, "GET", "http://a/", { headers: { a: "b\nc" } }],
    [/the json of the step 'call' is not lossless JSON/, "POST", "http://a/", { json: Number.NaN }],
  ];
  for (const [message, method, url, options] of wrong) {
    const action = await http(method, url, options);
    assert.ok(action.action === "fail" && action.key === undefined, String(message));
    assert.match(action.error.message, message);
  }
});

test("an operation of the author's is recorded with its kind and input", async () => {
  const copy = {
    kind: "s3-copy",
    input: { from: "a", at: new Date(0) },
    factor: 2,
    async execute({ attempt }: { attempt: number }) {
      return attempt * this.factor;
    },
  };
  const action = completed(await turn((ctx) => ctx.operation("copy", copy, { retries: 1 })));
  assert.deepEqual([action.kind, action.input, action.output, action.key], ["s3-copy", { from: "a", at: "1970-01-01T00:00:00.000Z" }, 2, "copy"]);
  const plain = completed(await turn((ctx) => ctx.operation("copy", { kind: "note", execute: () => undefined })));
  assert.deepEqual([plain.kind, plain.input, plain.output], ["note", null, null]);
});

test("an operation that fails is recorded with its kind and input, is tried again and replays", async () => {
  const copy = (from: string, failures: number) => ({
    kind: "s3-copy",
    input: { from },
    execute: ({ attempt }: { attempt: number }) => {
      if (attempt <= failures) throw new Error("away");
      return "copied";
    },
  });
  const copying = workflow("copying", async (_, { operation, step }) => {
    const copied = await operation("copy", copy("a", 2));
    try {
      await operation("copy", copy("b", 9), { retries: 1 });
    } catch (error) {
      assert.ok(error instanceof StepFailedError);
      return [copied, error.kind, error.attempts, await step("plain", () => 1)];
    }
    return null;
  });
  const { end, actions, records } = await drive(copying);
  assert.ok(end.action === "complete");
  assert.deepEqual(end.output, ["copied", "step", 2, 1]);
  const done = actions.filter((action) => action.action === "fail" || action.action === "step_complete").map(({ action, kind, input }) => [action, kind, input]);
  const [fails, a, b] = [["fail", "s3-copy"], { from: "a" }, { from: "b" }];
  assert.deepEqual(done, [[...fails, a], [...fails, a], ["step_complete", "s3-copy", a], [...fails, b], [...fails, b], ["step_complete", undefined, undefined]]);
  assert.deepEqual(records.map(({ kind, status, final }) => [kind, status, final])[4], ["s3-copy", "failed", true]);
});

test("a plain step that fails says no kind", async () => {
  const action = await turn((ctx) => ctx.step("a", () => { throw new Error("no"); }));
  assert.ok(action.action === "fail" && !("kind" in action) && !("input" in action));
});

test("an input that leaves no room for the error is left out of a failure", async () => {
  const large = "x".repeat(4 * 1024 * 1024 - 400);
  const copy = async (input: string, execute: () => unknown): Promise<Action> => turn((ctx) => ctx.operation("copy", { kind: "s3-copy", input, execute }));
  const failed = await copy(large, () => { throw new Error("away"); });
  assert.ok(failed.action === "fail" && !("input" in failed));
  assert.deepEqual([failed.key, failed.kind, failed.error.message, failed.retryable, failed.on_exhausted], ["copy", "s3-copy", "away", undefined, "throw"]);
  assert.equal((await copy(large, () => 1)).action, "step_complete");
  const tooLarge = await copy("small", () => large + large);
  assert.ok(tooLarge.action === "fail");
  assert.deepEqual([tooLarge.key, tooLarge.kind, tooLarge.input, tooLarge.retryable], ["copy", "s3-copy", "small", false]);
});

test("retryIf and backoff say whether and when a failed attempt is followed by another", async () => {
  const attempt = async (options: object): Promise<unknown[]> => {
    const action = await turn((ctx) => ctx.step("a", () => { throw new RangeError("no"); }, options));
    assert.ok(action.action === "fail");
    return [action.retryable, action.retry_after];
  };
  assert.deepEqual(await attempt({ retryIf: (error: unknown) => error instanceof RangeError, backoff: "10s" }), [undefined, "10s"]);
  assert.deepEqual(await attempt({ retryIf: () => false, backoff: "10s" }), [false, undefined]);
  assert.deepEqual(await attempt({ backoff: (number: number) => 2.5 * number }), [undefined, "2.5s"]);
  const { error } = console;
  const said: unknown[] = [];
  console.error = (...words: unknown[]) => said.push(words[0]);
  try {
    const fails = (): never => { throw new Error("mine"); };
    assert.deepEqual(await attempt({ retryIf: fails }), [undefined, undefined]);
    assert.deepEqual(await attempt({ backoff: fails }), [undefined, undefined]);
    assert.deepEqual(await attempt({ backoff: () => -1 }), [undefined, undefined]);
  } finally {
    console.error = error;
  }
  assert.deepEqual(said, Array(3).fill("the retryIf or backoff of the step 'a' has failed; the definition's retries count"));
});
