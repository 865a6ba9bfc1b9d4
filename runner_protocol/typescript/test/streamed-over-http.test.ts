import assert from "node:assert/strict";
import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { test } from "node:test";
import { type Action, createRunner, type StepContext, workflow, type WorkflowFunction } from "../src/index.js";
import { type Line, writeLine } from "../src/lines.js";
import { written } from "../src/stream.js";
import { request } from "./engine.js";

const NDJSON = "application/x-ndjson, application/json";

function post(fn: WorkflowFunction<any, unknown>, more: Record<string, unknown> = {}, signal?: AbortSignal): Promise<Response> {
  const asked = new Request("http://runner/run", { method: "POST", headers: { accept: NDJSON }, body: JSON.stringify(request(more)), ...(signal ? { signal } : {}) });
  return createRunner([workflow("order", fn)]).fetch(asked);
}

async function streamed(fn: WorkflowFunction<any, unknown>, more: Record<string, unknown> = {}): Promise<Action[]> {
  const text = await (await post(fn, more)).text();
  return text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as Action);
}

const brief = (actions: Action[]): string[] => actions.map((action) => ("key" in action && action.key !== undefined ? `${action.action} ${action.key}` : action.action));

function gate(): { opened: Promise<void>; open: () => void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

const endless: (ran: { count: number }) => WorkflowFunction<any, unknown> = (ran) => async (_, { step }) => {
  for (;;) {
    await step("more", () => {
      ran.count += 1;
      return "x".repeat(1000);
    });
  }
};

test("a workflow goes no further ahead than its lines are read", async () => {
  const ran = { count: 0 };
  const response = await post(endless(ran));
  const reader = response.body!.getReader();
  let before = -1;
  while (ran.count > before) {
    before = ran.count;
    for (let hop = 0; hop < 20; hop += 1) await new Promise(setImmediate);
  }
  assert.ok(before > 5 && before < 40, `${before} steps ran with nobody reading`);
  for (let line = 0; line < 30; line += 1) await reader.read();
  await reader.cancel();
  assert.ok(ran.count >= 30);
});

async function overHttp(fn: WorkflowFunction<any, unknown>, check: (response: IncomingMessage, server: { close(): Promise<void> }) => Promise<void>): Promise<void> {
  const server = await createRunner([workflow("order", fn)]).serve(0);
  const call = httpRequest(server.url, { method: "POST", headers: { accept: NDJSON } });
  call.on("error", () => undefined).end(JSON.stringify(request()));
  const [response] = (await once(call, "response")) as [IncomingMessage];
  try {
    await check(response, server);
  } finally {
    call.destroy();
    await server.close();
  }
}

test("the server sends each line when it is made", async () => {
  const read = gate();
  await overHttp(async (_, { step }) => {
    await step("a", () => 1);
    await step("b", () => read.opened);
  }, async (response) => {
    response.setEncoding("utf8");
    assert.equal(response.headers["content-type"], "application/x-ndjson");
    const [first] = (await once(response, "data")) as [string];
    assert.equal((JSON.parse(first) as { key: string }).key, "a");
    read.open();
    let rest = "";
    for await (const chunk of response) rest += chunk;
    assert.deepEqual(rest.trim().split("\n").map((line) => (JSON.parse(line) as Action).action), ["step_complete", "complete"]);
  });
});

test("the server makes the workflow wait for a caller that reads slowly, and stops it when the caller hangs up", async () => {
  const ran = { count: 0 };
  await overHttp(endless(ran), async (response) => {
    let before = -1;
    // Sockets hold some megabytes before they are full.
    while (ran.count > before) {
      before = ran.count;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.ok(before > 10);
    response.destroy();
    await once(response, "close");
  });
  const atEnd = ran.count;
  await new Promise(setImmediate);
  assert.ok(ran.count <= atEnd + 1);
});

test("a server that closes starts no more steps and lets those that run end", async () => {
  const [begun, goOn] = [gate(), gate()];
  const ran: string[] = [];
  await overHttp(async (_, { step }) => {
    await step("a", async () => {
      begun.open();
      await goOn.opened;
      ran.push("a");
    });
    await step("b", () => ran.push("b"));
  }, async (response, server) => {
    await begun.opened;
    const closed = server.close();
    goOn.open();
    let text = "";
    for await (const chunk of response) text += chunk;
    await closed;
    assert.deepEqual(text.trim().split("\n").map((line) => (JSON.parse(line) as { key: string }).key), ["a"]);
    assert.deepEqual(ran, ["a"]);
    server.close = () => Promise.resolve();
  });
});

test("while a step is silent the connection is kept alive by blank lines", async () => {
  const goOn = gate();
  async function* slow(): AsyncGenerator<Line, void, void> {
    yield writeLine({ action: "complete", output: 1 });
    await goOn.opened;
    yield writeLine({ action: "complete", output: 2 });
  }
  const seen: string[] = [];
  for await (const chunk of written(slow(), 5)) {
    seen.push(chunk);
    if (seen.length === 3) goOn.open();
  }
  assert.deepEqual(seen.slice(0, 3), ['{"action":"complete","output":1}\n', "\n", "\n"]);
  assert.equal(seen.at(-1), '{"action":"complete","output":2}\n');
});

test("lines made in one breath go over the network together, each in time for the step that comes next", async () => {
  const response = await post(async (_, { step }) => {
    for (let index = 0; index < 100; index += 1) await step("quick", () => index);
  });
  let [chunks, lines] = [0, 0];
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    chunks += 1;
    lines += new TextDecoder().decode(chunk).split("\n").length - 1;
  }
  assert.equal(lines, 101);
  assert.ok(chunks <= 30, `${chunks} chunks`);
});

test("many steps side by side, and many turns, are no leak of listeners", async () => {
  const warnings: string[] = [];
  const note = ({ message }: Error): unknown => warnings.push(message);
  process.on("warning", note);
  const fn: WorkflowFunction<any, unknown> = (_, { step }) => Promise.all(Array.from({ length: 30 }, () => step("a", ({ signal }) => void signal.addEventListener("abort", () => undefined))));
  await Promise.all(Array.from({ length: 30 }, () => streamed(fn)));
  await new Promise(setImmediate);
  process.off("warning", note);
  assert.deepEqual(warnings, []);
});

test("a test reads the actions of a stream without a server", async () => {
  const runner = createRunner([workflow("order", async (_, { step }) => await step("a", (own: StepContext) => own.attempt))]);
  const actions: Action[] = [];
  for await (const action of runner.stream(request())) actions.push(action);
  assert.deepEqual(brief(actions), ["step_complete a", "complete"]);
  await assert.rejects(async () => { for await (const _ of runner.stream({})) assert.fail(); }, /workflow_id is missing/);
});
