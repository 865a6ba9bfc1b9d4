import assert from "node:assert/strict";
import { test } from "node:test";
import { type Action, createRunner, workflow, type WorkflowFunction } from "../src/index.js";
import { accepts } from "../src/stream.js";
import { record, records, request } from "./engine.js";

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

test("one turn carries the workflow to its end, a line for each action", async () => {
  const fn: WorkflowFunction<any, unknown> = async (_, { step }) => {
    const a = await step("a", () => 1);
    return await step("b", async () => a + 1);
  };
  const response = await post(fn);
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "application/x-ndjson");
  assert.deepEqual(brief(await streamed(fn)), ["step_complete a", "step_complete b", "complete"]);
});

test("who does not accept streams, or a runner that makes none, is answered one action", async () => {
  const definition = workflow("order", async (_, { step }) => (await step("a", () => 1), await step("b", () => 2)));
  for (const [options, accept] of [[{}, "application/json"], [{}, "application/x-ndjson;q=0, */*"], [{ stream: false }, NDJSON]] as const) {
    const response = await createRunner([definition], options).fetch(new Request("http://runner/run", { method: "POST", headers: { accept }, body: JSON.stringify(request()) }));
    assert.equal(response.headers.get("content-type"), "application/json; charset=utf-8");
    assert.equal(((await response.json()) as { key: string }).key, "a");
  }
  assert.ok(accepts("text/html, APPLICATION/x-NDJSON; q=0.5", "application/x-ndjson"));
  assert.ok(!accepts(null, "application/x-ndjson"));
});

test("what was asked for after two positions says so", async () => {
  const actions = await streamed(async (_, { step, sleep }) => {
    await Promise.all([step("a", () => 1), step("b", () => 2)]);
    await step("c", () => 3);
    await sleep("1h");
  });
  assert.deepEqual(actions.map((action) => "after" in action && action.after), [0, 0, 2, 3]);
});

test("gathered steps run at the same time and are handed out in the order of their lines", async () => {
  const [a, b] = [gate(), gate()];
  const order: string[] = [];
  const actions = await streamed(async (_, { step }) => {
    const branch = async (name: string, mine: ReturnType<typeof gate>, other: ReturnType<typeof gate>, waits: boolean) => {
      await step(name, async () => {
        mine.open();
        await other.opened;
        if (waits) await new Promise(setImmediate);
      });
      order.push(name);
      return await step("next", () => name);
    };
    return await Promise.all([branch("a", a, b, true), branch("b", b, a, false)]);
  });
  assert.deepEqual(brief(actions).slice(0, 2), ["step_complete b", "step_complete a"]);
  assert.deepEqual(order, ["b", "a"]);
  const ended = actions.at(-1);
  assert.deepEqual(ended?.action === "complete" && ended.output, ["a", "b"]);
  // The branch of b asked first, because it was handed out first.
  assert.deepEqual(actions.flatMap((action) => (action.action === "step_complete" && action.step_name === "next" ? [[action.key, action.output]] : [])), [["next", "b"], ["next#2", "a"]]);
});

test("after a failure no step starts and nothing is suspended; the steps that run are waited for and their lines go out", async () => {
  const failed = gate();
  const ran: string[] = [];
  const actions = await streamed(async (ctx, { step, sleep }) => {
    await Promise.all([
      step("bad", () => { throw new Error("no"); }),
      step("good", () => failed.opened.then(() => ran.push("good"))).then(() => step("later", () => ran.push("later"))),
      step("worse", () => failed.opened.then(() => { throw new Error("neither"); })),
      sleep("1h"),
      new Promise<void>((resolve) => { ctx.log.info("noted"); setImmediate(() => setImmediate(() => { failed.open(); resolve(); })); }),
    ]);
  });
  assert.deepEqual(brief(actions), ["fail bad", "step_complete good", "fail worse"]);
  assert.deepEqual(ran, ["good"]);
  assert.ok(actions[0]?.action === "fail" && actions[0].noted === 1 && actions[0].logs?.[0]?.message === "noted");
});

test("a wait is asked for only when no step runs, and of several the first called", async () => {
  const actions = await streamed((_, { step, sleep, waitForEvent }) =>
    Promise.all([waitForEvent("paid"), sleep("1h"), step("a", () => new Promise<void>((resolve) => void setImmediate(resolve))).then(() => step("b", () => 1))]),
  );
  assert.deepEqual(brief(actions), ["step_complete a", "step_complete b", "wait_event event:paid"]);
});

test("a step's timeout is announced, and when it is over the attempt has failed", async () => {
  let signal: AbortSignal | undefined;
  const [start, fail] = await streamed((_, { step }) =>
    step("render", (own) => {
      signal = own.signal;
      return new Promise(() => undefined);
    }, { timeout: "20ms", retries: 2, backoff: (attempt) => attempt * 2 }),
  );
  assert.deepEqual(start, { action: "step_start", step_name: "render", key: "render", timeout: "20ms" });
  assert.ok(fail?.action === "fail");
  assert.equal(fail.error.type, "TimeoutError");
  assert.equal(fail.error.message, "step 'render' timed out after 0.02 s");
  assert.deepEqual([fail.key, fail.max_retries, fail.retry_after, fail.on_exhausted, fail.retryable], ["render", 2, "2s", "throw", undefined]);
  assert.equal(signal?.aborted, true);
});

test("what is handed out live is what a replay would see, whatever the code and the body do with it later", async () => {
  const shared = { count: 1 };
  const fn: WorkflowFunction<any, unknown> = async (ctx, { step }) => {
    const first = await step<{ count: number; zero: number; date: any }>("a", () => Object.assign(shared, { zero: -0, date: new Date(0) }));
    shared.count = 5;
    const seen = [first.count, Object.is(first.zero, 0), first.date, ctx.now().getTime() === Date.parse(ctx.completedSteps[0]?.completed_at ?? ""), ctx.currentStep, ctx.history];
    first.count += 1;
    await step("b", () => first.count);
    return seen;
  };
  const actions = await streamed(fn);
  const [a, b, end] = actions;
  assert.ok(a?.action === "step_complete" && b?.action === "step_complete" && end?.action === "complete");
  assert.deepEqual(end.output, [1, true, "1970-01-01T00:00:00.000Z", true, 1, { steps: 1, bytes: 54 }]);
  assert.equal(b.output, 2);
  const kept = records(record("a", { output: a.output, completed_at: a.completed_at }), record("b", { output: b.output }));
  assert.deepEqual(await streamed(fn, kept), [{ action: "complete", output: end.output }]);
});

test("a line that is too large is a failure of its step, and nothing is handed out for it", async () => {
  const actions = await streamed(async (_, { step }) => {
    await step("big", () => "x".repeat(5 * 1024 * 1024));
    await step("next", () => 1);
  });
  assert.deepEqual(brief(actions), ["fail big"]);
  assert.ok(actions[0]?.action === "fail" && actions[0].retryable === false && actions[0].after === 0);
});

test("what the code does while it ought to wait ends the turn after the steps that run, and the next one starts afresh", async () => {
  const ran: string[] = [];
  const timer = gate();
  const fn: WorkflowFunction<any, unknown> = async (_, { step }) => {
    const slow = step("slow", async () => {
      ran.push("slow");
      timer.open();
      await new Promise(setImmediate);
      await new Promise(setImmediate);
      return "slow";
    });
    const first = await Promise.race([slow, timer.opened.then(() => "timer")]);
    return await step("after", () => ran.push(first), {});
  };
  assert.deepEqual(brief(await streamed(fn)), ["step_complete slow"]);
  assert.deepEqual(ran, ["slow"]);
});

test("a turn that is astray before its first step has begun makes progress all the same", async () => {
  const timer = gate();
  const ran: string[] = [];
  const fn: WorkflowFunction<any, unknown> = async (_, { step }) => {
    await Promise.race([step("a", () => ran.push("a"), { timeout: "1m" }), timer.opened]);
    await step("b", () => ran.push("b"));
  };
  const actions: Action[] = [];
  for await (const action of createRunner([workflow("order", fn)]).stream(request())) {
    actions.push(action);
    timer.open();
    await new Promise(setImmediate);
  }
  assert.deepEqual(brief(actions), ["step_start a", "step_complete a"]);
  assert.deepEqual(ran, ["a"]);
});

test("the end of the function ends the answer at once; a step that is still running is told to stop", async () => {
  const told = gate();
  const actions = await streamed((_, { step }) =>
    Promise.race([step("quick", () => 1), step("slow", ({ signal }) => new Promise(() => signal.addEventListener("abort", told.open)))]),
  );
  assert.deepEqual(brief(actions), ["step_complete quick", "complete"]);
  await told.opened;
});

test("who stops reading makes the steps that run stop, and no other one starts", async () => {
  const [begun, told] = [gate(), gate()];
  const ran: string[] = [];
  const response = await post(async (_, { step }) => {
    await step("a", () => ran.push("a"));
    await step("b", ({ signal }) => new Promise<void>((resolve) => {
      signal.addEventListener("abort", () => { resolve(); told.open(); });
      begun.open();
    }));
    await step("c", () => ran.push("c"));
  });
  const reader = response.body!.getReader();
  await reader.read();
  await begun.opened;
  await reader.cancel();
  await told.opened;
  await new Promise(setImmediate);
  assert.deepEqual(ran, ["a"]);
});

test("so does a request that is aborted", async () => {
  const caller = new AbortController();
  const [begun, told] = [gate(), gate()];
  const response = await post((_, { step }) => step("a", ({ signal }) => {
    signal.addEventListener("abort", told.open);
    begun.open();
    return new Promise(() => undefined);
  }), {}, caller.signal);
  const text = response.text().catch(() => "aborted");
  await begun.opened;
  caller.abort();
  await told.opened;
  assert.ok(["", "aborted"].includes(await text));
});
