import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { createRunner, type ServerHandle, StepFailedError, workflow } from "../src/index.js";
import { channelHop } from "../src/hop.js";
import { record, records, request } from "./engine.js";

const runner = createRunner([workflow("order", (ctx, { step }) => step("a", () => ctx.input))]);

async function served(check: (server: ServerHandle) => Promise<void>): Promise<void> {
  const server = await runner.serve(0);
  try {
    await check(server);
  } finally {
    await server.close();
  }
}

test("the server answers a POST on any path, over one connection again and again", () =>
  served(async ({ url, port, host }) => {
    assert.equal(url, `http://${host}:${port}/run`);
    for (const path of ["/run", "/", "/else"]) {
      const response = await fetch(new URL(path, url), { method: "POST", body: JSON.stringify(request({ input: "ä" })) });
      assert.equal(response.status, 200);
      assert.equal(((await response.json()) as { output: string }).output, "ä");
    }
  }));

test("the server refuses other methods, what is no JSON and what is too large", () =>
  served(async ({ url, port }) => {
    const get = await fetch(url);
    assert.equal(get.status, 405);
    assert.equal(get.headers.get("allow"), "POST");
    assert.equal((await fetch(url, { method: "POST", body: "{" })).status, 400);
    const large = httpRequest({ port, host: "127.0.0.1", method: "POST", headers: { "content-length": 2 ** 31 } });
    large.flushHeaders();
    const [response] = (await once(large, "response")) as [{ statusCode: number; headers: Record<string, string> }];
    large.on("error", () => undefined).destroy();
    assert.equal(response.statusCode, 413);
    assert.equal(response.headers["connection"], "close");
  }));

test("a step is told when the engine hangs up", async () => {
  let told = (): void => undefined;
  const aborted = new Promise<void>((resolve) => (told = resolve));
  let begun = (): void => undefined;
  const started = new Promise<void>((resolve) => (begun = resolve));
  const slow = createRunner([
    workflow("order", (_, { step }) =>
      step("a", ({ signal }) => new Promise<void>((resolve) => {
        signal.addEventListener("abort", () => { told(); resolve(); });
        begun();
      })),
    ),
  ]);
  const server = await slow.serve(0);
  const caller = new AbortController();
  const answer = fetch(server.url, { method: "POST", body: JSON.stringify(request()), signal: caller.signal });
  await started;
  caller.abort();
  await assert.rejects(answer);
  await aborted;
  await server.close();
});

test("the address is that of PYLON_WORKFLOW_RUNNER_URL unless another is given", async () => {
  const before = process.env["PYLON_WORKFLOW_RUNNER_URL"];
  try {
    process.env["PYLON_WORKFLOW_RUNNER_URL"] = "http://localhost:0/run";
    const server = await runner.serve();
    assert.equal(server.host, "localhost");
    assert.ok(server.port > 0);
    await assert.rejects(runner.serve(server.port), /^Error: the runner cannot listen on localhost port \d+: the address is in use; stop what listens there, or name another port in PYLON_WORKFLOW_RUNNER_URL$/);
    await server.close();
    const elsewhere = await runner.serve(0, { host: "::1" }).catch(() => null);
    if (elsewhere !== null) {
      assert.equal(elsewhere.url, `http://[::1]:${elsewhere.port}/run`);
      await elsewhere.close();
    }
    for (const wrong of ["not a url", "ftp://127.0.0.1/run"]) {
      process.env["PYLON_WORKFLOW_RUNNER_URL"] = wrong;
      await assert.rejects(runner.serve(), /PYLON_WORKFLOW_RUNNER_URL must be an http URL/);
    }
  } finally {
    if (before === undefined) delete process.env["PYLON_WORKFLOW_RUNNER_URL"];
    else process.env["PYLON_WORKFLOW_RUNNER_URL"] = before;
  }
});

test("a final failure that a branch never awaits does not end the process, and any other one does", async () => {
  const run = async (thrown: string): Promise<number | null> => {
    const child = spawn(process.execPath, [fileURLToPath(new URL("unawaited.js", import.meta.url)), thrown], { stdio: "ignore" });
    const [code] = (await once(child, "exit")) as [number | null];
    return code;
  };
  assert.equal(await run("step"), 0);
  assert.notEqual(await run("other"), 0);
});

test("a port that is taken is told in one sentence, whether it is awaited or not, and can be caught", () =>
  served(async ({ port, host }) => {
    const sentence = `the runner cannot listen on ${host} port ${port}: the address is in use; stop what listens there, or name another port in PYLON_WORKFLOW_RUNNER_URL\n`;
    for (const [how, said, expected] of [["awaited", sentence, 1], ["unawaited", sentence, 1], ["caught", `caught: ${sentence}`, 0]] as const) {
      const child = spawn(process.execPath, [fileURLToPath(new URL("port.js", import.meta.url)), how, String(port)], { stdio: ["ignore", "ignore", "pipe"] });
      let stderr = "";
      child.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk));
      const [code] = (await once(child, "close")) as [number | null];
      assert.deepEqual([stderr, code], [said, expected], how);
    }
  }));

test("a hop through a message channel comes after all promises that can go on", async () => {
  const channel = new MessageChannel();
  const hop = channelHop(channel as never);
  let count = 0;
  const going = (async () => {
    for (; count < 50; count += 1) await null;
  })();
  await Promise.all([hop(), hop()]);
  assert.equal(count, 50);
  await going;
  channel.port1.close();
});

test("a final failure can be told from other errors", async () => {
  const caught = createRunner([
    workflow("order", async (_, { step }) => {
      const error = await step("a", () => 1).catch((reason: unknown) => reason);
      return error instanceof StepFailedError && error.name;
    }),
  ]);
  const kept = records(record("a", { status: "failed", final: true }));
  assert.deepEqual(await caught.handleRequest(request(kept)), { action: "complete", output: "StepFailedError" });
});
