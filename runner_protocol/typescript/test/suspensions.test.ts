import assert from "node:assert/strict";
import { test } from "node:test";
import { type Action, StepFailedError, TimedOutError, workflow, type WorkflowContext } from "../src/index.js";
import { record, records, request, turn } from "./engine.js";

test("each helper that suspends says all that it was given, and nothing that is the default", async () => {
  const shipping = workflow("shipping", () => 1);
  const asked: [(ctx: WorkflowContext) => unknown, object][] = [
    [(ctx) => ctx.sleepUntil(new Date(0)), { action: "sleep", key: "sleep", until: "1970-01-01T00:00:00.000Z" }],
    [(ctx) => ctx.sleepUntil("2026-12-01T10:00:00+01:00", { name: "launch" }), { action: "sleep", key: "sleep:launch", name: "launch", until: "2026-12-01T09:00:00.000Z" }],
    [(ctx) => ctx.waitForEvent("paid"), { action: "wait_event", event: "paid", key: "event:paid" }],
    [
      (ctx) => ctx.waitForEvent("paid", { timeout: 0, onTimeout: "fail", match: { "order.id": 7 }, correlation: "order:7" }),
      { action: "wait_event", event: "paid", key: "event:paid", timeout: "0s", on_timeout: "fail", match: { "order.id": 7 }, correlation: "order:7" },
    ],
    [(ctx) => ctx.approval("ship"), { action: "approval", name: "ship", key: "approval:ship" }],
    [
      (ctx) => ctx.approval("ship", { message: "Ship?", data: { n: 1 }, timeout: "2d", onTimeout: "fail" }),
      { action: "approval", name: "ship", key: "approval:ship", message: "Ship?", data: { n: 1 }, timeout: "2d", on_timeout: "fail" },
    ],
    [(ctx) => ctx.map("resize", [], () => 1), { action: "map", name: "resize", key: "resize", items: [] }],
    [
      (ctx) => ctx.map("resize", [1, undefined, new Date(0)], () => 1, { failFast: false, maxInFlight: 1, retries: 2 }),
      { action: "map", name: "resize", key: "resize", items: [1, null, "1970-01-01T00:00:00.000Z"], fail_fast: false, max_in_flight: 1 },
    ],
    [
      (ctx) => ctx.parallel("checks", { lint: () => 1, size: [(of: number) => of, 7], copy: { kind: "copy", input: [1], execute: () => 2 } }),
      { action: "parallel", name: "checks", key: "checks", members: [{ name: "lint", input: null }, { name: "size", input: 7 }, { name: "copy", input: [1] }] },
    ],
    [(ctx) => ctx.child("shipping", { n: 1 }), { action: "start_child", name: "shipping", key: "child:shipping", workflow: "shipping", input: { n: 1 } }],
    [
      (ctx) => ctx.child(shipping, undefined, { name: "ship", id: "ship-7", wait: false, onParentClose: "abandon" }),
      { action: "start_child", name: "ship", key: "child:ship", workflow: "shipping", input: null, id: "ship-7", wait: false, on_parent_close: "abandon" },
    ],
  ];
  for (const [ask, action] of asked) assert.deepEqual(await turn(ask), { ...action, after: 0 });
  const next = await turn(async (ctx) => (await ctx.step("a", () => 1), await ctx.continueAsNew({ cursor: 900 })), records(record("a")));
  assert.deepEqual(next, { action: "continue_as_new", input: { cursor: 900 } });
});

test("what helpers cannot use is refused at the call", async () => {
  const wrong: [RegExp, (ctx: WorkflowContext) => unknown][] = [
    [/a time must be a Date or a text such as/, (ctx) => ctx.sleepUntil("tomorrow")],
    [/a time must be a Date/, (ctx) => ctx.sleepUntil(new Date(Number.NaN))],
    [/a time must be a Date/, (ctx) => ctx.sleepUntil(new Date(8.64e15))],
    [/onTimeout must be one of return, fail, not reject/, (ctx) => ctx.waitForEvent("a", { onTimeout: "reject" as never })],
    [/match must be an object/, (ctx) => ctx.waitForEvent("a", { match: [] as never })],
    [/match of the wait for 'a' is not lossless JSON/, (ctx) => ctx.waitForEvent("a", { match: { b: 1n } })],
    [/correlation must have 1 to 512 characters/, (ctx) => ctx.waitForEvent("a", { correlation: "" })],
    [/onTimeout must be one of reject, fail/, (ctx) => ctx.approval("a", { onTimeout: "return" as never })],
    [/an approval's name must not contain '#'/, (ctx) => ctx.approval("a#")],
    [/items must be an array/, (ctx) => ctx.map("a", "abc" as never, () => 1)],
    [/needs a function/, (ctx) => ctx.map("a", [], undefined as never)],
    [/maxInFlight must be a whole number from 1 to 1000, not 0/, (ctx) => ctx.map("a", [], () => 1, { maxInFlight: 0 })],
    [/failFast must be one of true, false/, (ctx) => ctx.map("a", [], () => 1, { failFast: "no" as never })],
    [/at most 100000/, (ctx) => ctx.map("a", Array(100_001).fill(0), () => 1)],
    [/members must be an object/, (ctx) => ctx.parallel("a", [] as never)],
    [/a member's name must not contain '\/'/, (ctx) => ctx.parallel("a", { "b/c": () => 1 })],
    [/the kind 'event' is the engine's own/, (ctx) => ctx.parallel("a", { b: { kind: "event", execute: () => 1 } })],
    [/execute needs a function/, (ctx) => ctx.operation("a", { kind: "copy" } as never)],
    [/the kind 'step' is the engine's own/, (ctx) => ctx.operation("a", { kind: "step", execute: () => 1 })],
    [/a child needs the name of a workflow/, (ctx) => ctx.child(undefined as never, 1)],
    [/id must be 1 to 128/, (ctx) => ctx.child("a", 1, { id: "no spaces" })],
    [/onParentClose must be one of cancel, abandon/, (ctx) => ctx.child("a", 1, { onParentClose: "keep" as never })],
    [/needs a reason/, (ctx) => ctx.skip("a", undefined as never)],
    [/timeout must be more than 0/, (ctx) => ctx.step("a", () => 1, { timeout: 0 })],
    [/retryIf must be a function/, (ctx) => ctx.step("a", () => 1, { retryIf: true as never })],
    [/needs a command as a list of texts/, (ctx) => ctx.shell("a", "ls -l" as never)],
    [/the input of the next run is not lossless JSON/, (ctx) => ctx.continueAsNew(Number.NaN)],
  ];
  for (const [message, call] of wrong) {
    const action = await turn(async (ctx) => void (await call(ctx)));
    assert.equal(action.action, "fail", String(message));
    assert.match(action.error.message, message);
  }
});

test("a decision is a value; a wait, an approval, a child and a group that have failed are errors that say what they are", async () => {
  const decided = { approved: true, by: "alice", comment: "go", data: { n: 1 }, at: "2026-01-01T00:00:00.000Z", timed_out: false };
  const caught = (promise: Promise<unknown>): Promise<unknown> =>
    promise.catch((error: unknown) => {
      assert.ok(error instanceof StepFailedError);
      return [error.name, error instanceof TimedOutError, error.kind, error.key, error.message];
    });
  const failed = (kind: string, error: string, timed_out = false) => ({ kind, status: "failed", error, final: true, timed_out }) as const;
  const action = await turn(
    async (ctx) => [
      await ctx.approval("ship"),
      await caught(ctx.approval("late")),
      await caught(ctx.waitForEvent("paid")),
      await caught(ctx.child("shipping", 1)),
      await caught(ctx.map("resize", [1], () => 1)),
    ],
    records(
      record("approval:ship", { kind: "approval", output: decided }),
      record("approval:late", failed("approval", "timed out waiting for approval 'late'", true)),
      record("event:paid", failed("event", "timed out waiting for event 'paid'", true)),
      record("child:shipping", failed("child", "child 'shipping' failed: no truck")),
      record("resize", failed("map", "resize[0]: no")),
    ),
  );
  assert.ok(action.action === "complete");
  assert.deepEqual(action.output, [
    { approved: true, by: "alice", comment: "go", data: { n: 1 }, at: "2026-01-01T00:00:00.000Z", timedOut: false },
    ["TimedOutError", true, "approval", "approval:late", "timed out waiting for approval 'late'"],
    ["TimedOutError", true, "event", "event:paid", "timed out waiting for event 'paid'"],
    ["StepFailedError", false, "child", "child:shipping", "child 'shipping' failed: no truck"],
    ["StepFailedError", false, "map", "resize", "resize[0]: no"],
  ]);
  const uncaught = await turn((ctx) => ctx.child("shipping", 1), records(record("child:shipping", failed("child", "child 'shipping' failed: no truck"))));
  assert.ok(uncaught.action === "fail");
  assert.deepEqual([uncaught.error.message, uncaught.retryable, uncaught.key], ["child 'shipping' failed: no truck", false, undefined]);
});

test("a record of another kind never answers a call", async () => {
  for (const [kind, key] of [["approval", "approval:a"], ["child", "child:a"], ["map", "a"], ["parallel", "a"]] as const) {
    const action = await turn((ctx) => ctx.step("a", () => 1).then(() => ctx.approval("a")), records(record(key, { kind })));
    assert.equal(action.action, "diverged", kind);
  }
});

test("the next run comes after steps and before all that suspends", async () => {
  const actions: Action[] = [];
  const fn = (ctx: WorkflowContext) => Promise.all([ctx.sleep("1h"), ctx.continueAsNew(1), ctx.step("a", () => 1)]);
  actions.push(await turn(fn), await turn(fn, records(record("a"))));
  assert.deepEqual(actions.map(({ action }) => action), ["step_complete", "continue_as_new"]);
  const unawaited = await turn((ctx) => void ctx.continueAsNew(2));
  assert.deepEqual(unawaited, { action: "continue_as_new", input: 2 });
});

test("who started the instance is known to it", async () => {
  const parent = { workflow_id: "wf_0", key: "child:order" };
  assert.deepEqual(await turn((ctx) => ctx.parent, { parent }), { action: "complete", output: { workflowId: "wf_0", key: "child:order" } });
  assert.deepEqual(request()["parent"], undefined);
  assert.deepEqual(await turn((ctx) => ctx.parent), { action: "complete", output: null });
});
