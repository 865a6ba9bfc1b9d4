import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { createRunner, workflow } from "../src/index.js";
import { VERSION } from "../src/version.js";
import { request } from "./engine.js";

test("a runner tells what it holds", async () => {
  const options = { version: "2", description: "Takes orders", maxRetries: 5, stepTimeout: "2m", inputSchema: { type: "object" } };
  const runner = createRunner([workflow("orders", options, () => 1), workflow("plain", () => 2)]);
  const response = await runner.fetch(new Request("http://runner/run", { method: "POST", headers: { accept: "application/x-ndjson" }, body: JSON.stringify({ protocol: 2, mode: "describe" }) }));
  assert.equal(response.headers.get("content-type"), "application/json; charset=utf-8");
  assert.deepEqual(await response.json(), {
    action: "description",
    protocol: 2,
    workflows: [
      { name: "orders", version: "2", description: "Takes orders", max_retries: 5, step_timeout: "2m", input_schema: { type: "object" } },
      { name: "plain", version: null, description: null, max_retries: null, step_timeout: null, input_schema: null },
    ],
    kit: `typescript/${VERSION}`,
  });
  const manifest = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };
  assert.equal(manifest.version, VERSION);
});

test("an instance goes on with the version that its run started with", async () => {
  const ask = async (versions: (string | null)[], version: string | null): Promise<unknown> => {
    const held = versions.map((one) => (one === null ? workflow("orders", () => "no version") : workflow("orders", { version: one }, () => one)));
    const action = await createRunner(held).handleRequest(request({ workflow_name: "orders", workflow_version: version }));
    return action.action === "complete" ? action.output : action;
  };
  const deferred = (reason: string) => ({ action: "defer", retry_after: "5s", reason });
  assert.equal(await ask(["1", "2"], "1"), "1");
  assert.equal(await ask(["1", "2"], "2"), "2");
  assert.deepEqual(await ask(["1", "2"], "3"), deferred("unknown version '3' of workflow 'orders'"));
  assert.deepEqual(await ask(["1"], "3"), deferred("unknown version '3' of workflow 'orders'"));
  assert.equal(await ask(["1", "2"], null), "2");
  assert.equal(await ask(["1"], null), "1");
  assert.equal(await ask([null], "3"), "no version");
  assert.equal(await ask([null, "2"], null), "no version");
  assert.deepEqual(await ask([null, "2"], "3"), deferred("unknown version '3' of workflow 'orders'"));
});

test("two definitions of one name differ in their version", () => {
  const versioned = () => workflow("orders", { version: "1" }, () => 1);
  assert.throws(() => createRunner([versioned(), versioned()]), /two workflows are named 'orders' in the version '1'/);
  assert.throws(() => createRunner([workflow("orders", () => 1), workflow("orders", () => 2)]), /two workflows are named 'orders'$/);
});

test("what a workflow cannot be is refused when it is defined", () => {
  assert.throws(() => workflow("", () => 1), /a workflow's name must be a string that is not empty/);
  assert.throws(() => workflow("x".repeat(129), () => 1), /at most 128/);
  assert.throws(() => workflow("a", 5 as never), /needs a function/);
  assert.throws(() => workflow("a", { version: "" }, () => 1), /the version of the workflow 'a'/);
  assert.throws(() => workflow("a", { maxRetries: -1 }, () => 1), /maxRetries must be a whole number/);
  assert.throws(() => workflow("a", { stepTimeout: "soon" }, () => 1), /is no duration/);
  assert.throws(() => workflow("a", { inputSchema: { x: 1n } }, () => 1), /the input schema of 'a' is not lossless JSON/);
});
