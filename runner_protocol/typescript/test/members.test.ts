import assert from "node:assert/strict";
import { test } from "node:test";
import { NonRetryableError, type WorkflowFunction } from "../src/index.js";
import { record, records, turn } from "./engine.js";

const member = (group: string, name: string, key: string, input: unknown, index = 0) => ({ mode: "run_step", member: { group, name, key, index, total: 3, input } });

test("a member is run alone, after the records before its group, with the input that was recorded", async () => {
  const ran: string[] = [];
  const fn: WorkflowFunction<any, unknown> = async (ctx, { step, map }) => {
    ctx.set("stage", "map");
    await step("first", () => ran.push("first"));
    await Promise.all([
      step("beside", () => ran.push("beside")),
      map("resize", ["now", "other"], (item, own) => {
        ran.push(`${item} ${own.index} of ${own.total}, attempt ${own.attempt} of ${own.maxAttempts} after ${own.lastError}: ${own.idempotencyKey}`);
        own.usage({ inputTokens: 7 });
        ctx.log.info("inside");
        return [item];
      }, { retries: 6 }),
    ]);
  };
  const more = { ...records(record("first"), record("beside")), run: 2, noted: 0, attempt: { number: 3, max: 4, last_error: "no" } };
  const action = await turn(fn, { ...more, ...member("resize", "resize", "resize[1]", "then", 1) });
  assert.ok(action.action === "step_complete");
  const { started_at: _s, completed_at: _c, duration_ms: _d, logs, ...rest } = action;
  assert.deepEqual(rest, { action: "step_complete", step_name: "resize", key: "resize[1]", output: ["then"], usage: { input_tokens: 7 } });
  assert.deepEqual(logs?.map(({ message }) => message), ["inside"]);
  assert.deepEqual(ran, ["then 1 of 3, attempt 3 of 7 after no: wf_1:2:resize[1]"]);
});

test("items that the engine has already are not copied again: it would be done once for each of them", async () => {
  let copies = 0;
  const item = { toJSON: () => (copies += 1) };
  const fn: WorkflowFunction<any, unknown> = (_, { map }) => map("resize", [item, item], () => 1);
  const first = await turn(fn);
  assert.deepEqual([first.action === "map" && first.items, copies], [[1, 2], 2]);
  assert.equal((await turn(fn, member("resize", "resize", "resize[0]", 1))).action, "step_complete");
  assert.deepEqual(await turn(fn, records(record("resize", { kind: "map", output: [1, 1] }))), { action: "complete", output: [1, 1] });
  assert.equal(copies, 2);
});

test("an operation that is a member is recorded as what it is", async () => {
  const action = await turn((_, { parallel }) => parallel("all", { copy: { kind: "copy", input: { from: "a" }, execute: (own) => own.attempt } }), member("all", "copy", "all/copy", { from: "a" }));
  assert.ok(action.action === "step_complete");
  assert.deepEqual([action.kind, action.input, action.output], ["copy", { from: "a" }, 1]);
});

test("a member that fails says so under its own key", async () => {
  const action = await turn(
    (_, { map }) => map("resize", [1], () => Promise.reject(new NonRetryableError("no")), { retries: 2 }),
    member("resize", "resize", "resize[0]", 1),
  );
  assert.ok(action.action === "fail");
  assert.deepEqual([action.key, action.step_name, action.retryable, action.max_retries, action.error.message, "after" in action], ["resize[0]", "resize", false, 2, "no", false]);
});

test("a member whose group the code does not come to, or does not have, has diverged", async () => {
  const asked = member("checks", "lint", "checks/lint", null);
  const got = async (fn: WorkflowFunction<any, unknown>) => {
    const action = await turn(fn, { ...asked, ...records(record("a")) });
    assert.ok(action.action === "diverged");
    assert.deepEqual([action.position, action.expected], [1, "checks/lint"]);
    return action.got;
  };
  assert.equal(await got(async (_, { step }) => (await step("a", () => 1), await step("b", () => 1))), "b");
  assert.equal(await got((_, { step }) => step("a", () => 1)), "the end of the workflow");
  assert.equal(await got(async (_, { step, parallel }) => (await step("a", () => 1), await parallel("checks", { test: () => 1 }))), "checks (a parallel) without this member");
  assert.equal(await got(async (_, { step }) => (await step("a", () => 1), await step("checks", () => 1))), "checks (a step) without this member");
  const early = await turn((_, { step }) => step("z", () => 1), { ...asked, ...records(record("a")) });
  assert.deepEqual(early, { action: "diverged", position: 0, expected: "a", got: "z" });
});

test("a member's body calls no helper of the workflow", async () => {
  const action = await turn((_, { map, step }) => map("resize", [1], () => step("inner", () => 1)), member("resize", "resize", "resize[0]", 1));
  assert.ok(action.action === "fail");
  assert.match(action.error.message, /^step\('inner'\) was called inside the body of the step 'resize'/);
});
