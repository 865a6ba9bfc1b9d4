import assert from "node:assert/strict";
import { test } from "node:test";
import { type Action, createRunner, workflow, type WorkflowContext, type WorkflowFunction } from "../src/index.js";
import { UsageSum } from "../src/usage.js";
import { record, records, request, turn } from "./engine.js";

async function streamed(fn: WorkflowFunction<any, unknown>, more: Record<string, unknown> = {}): Promise<Action[]> {
  const actions: Action[] = [];
  for await (const action of createRunner([workflow("order", fn)]).stream(request(more))) actions.push(action);
  return actions;
}

const noted = (action: Action | undefined): object => {
  const { vars, unset, usage, progress, logs, noted: number } = action as any;
  return JSON.parse(JSON.stringify({ vars, unset, usage, progress, logs: logs?.map((line: any) => [line.level, line.message]), noted: number })) as object;
};

const fn: WorkflowFunction<any, unknown> = async (ctx, { step }) => {
  ctx.set("a", 1);
  ctx.set({ b: null, c: [1], d: 1 });
  ctx.unset("d", "never");
  ctx.usage({ costUsd: 0.1, inputTokens: 5 });
  ctx.usage({ costUsd: "0.2", outputTokens: 1 });
  ctx.progress(10);
  ctx.log.info("begins");
  await step("work", (own) => {
    ctx.usage({ costUsd: "0.000000000000000001" });
    own.progress(null, "working");
    own.log.debug("in the body");
  });
  ctx.set("a", 2);
  ctx.log.warning("done");
  return ctx.vars;
};

test("notes go out with the next action, whatever it is, added up and exactly", async () => {
  const [work, end] = await streamed(fn);
  assert.deepEqual(noted(work), {
    vars: { a: 1, b: null, c: [1] },
    unset: ["d", "never"],
    usage: { cost_usd: "0.300000000000000001", input_tokens: 5, output_tokens: 1 },
    progress: { message: "working" },
    logs: [["info", "begins"], ["debug", "in the body"]],
    noted: 7,
  });
  assert.deepEqual(noted(end), { vars: { a: 2 }, logs: [["warning", "done"]], noted: 9 });
  assert.deepEqual(end?.action === "complete" && end.output, { a: 2, b: null, c: [1] });
});

test("a replay sends only those that the engine has not applied, and sees all of them", async () => {
  const output = { a: 2, b: null, c: [1] };
  const kept = records(record("work"));
  assert.deepEqual(await streamed(fn, { ...kept, noted: 9 }), [{ action: "complete", output }]);
  const [late] = await streamed(fn, { ...kept, noted: 8 });
  assert.deepEqual(noted(late), { logs: [["warning", "done"]], noted: 9 });
  const [seen] = await streamed((ctx) => ctx.vars, { vars: { from: "the run before" }, noted: 3 });
  assert.deepEqual(seen, { action: "complete", output: { from: "the run before" } });
});

test("a failed attempt carries them too, and what has diverged or is put off does not", async () => {
  const [fail] = await streamed(async (ctx, { step }) => {
    ctx.set("stage", "charge");
    await step("charge", (own) => {
      own.usage({ inputTokens: 3 });
      throw new Error("declined");
    });
  });
  assert.deepEqual(noted(fail), { vars: { stage: "charge" }, usage: { input_tokens: 3 }, noted: 1 });
  assert.deepEqual(noted((await streamed((ctx) => { ctx.log.info("x"); }, records(record("gone"))))[0]), {});
  const [start, line] = await streamed((ctx, { step }) => (ctx.log.info("x"), step("a", () => 1, { timeout: "1m" })));
  assert.deepEqual([noted(start), noted(line)], [{}, { logs: [["info", "x"]], noted: 1 }]);
});

test("variables are set by the function only, and changed by set only", async () => {
  const inside = await turn((ctx, { step }) => step("a", () => ctx.set("b", 1)));
  assert.ok(inside.action === "fail");
  assert.deepEqual([inside.retryable, inside.error.message], [false, "ctx.set in the step 'a': return the value, and set it in the workflow's function"]);
  const changed = await turn((ctx) => {
    ctx.set("list", [{ n: 1 }]);
    ctx.vars["list"][0].n = 2;
  });
  assert.ok(changed.action === "fail");
  assert.match(changed.error.message, /read only|Cannot assign/);
});

test("the values that a variable, a cost, a progress and a line may have", async () => {
  const wrong: [RegExp, (ctx: WorkflowContext) => unknown][] = [
    [/the variable 'a' is not lossless JSON: \$ is a bigint/, (ctx) => ctx.set("a", 1n)],
    [/a variable's name must not be empty/, (ctx) => ctx.set("", 1)],
    [/a variable's name must be a string/, (ctx) => ctx.unset(1 as never)],
    [/with 'big' the variables take \d+ bytes, and an instance has at most 262144/, (ctx) => ctx.set("big", "x".repeat(262_144))],
    [/with 'b' the variables take/, (ctx) => (ctx.set("a", "x".repeat(200_000)), ctx.set("b", "x".repeat(62_200)))],
    [/costUsd must be dollars of 0 or more/, (ctx) => ctx.usage({ costUsd: -1 })],
    [/costUsd must be/, (ctx) => ctx.usage({ costUsd: "1e5" })],
    [/costUsd must be/, (ctx) => ctx.usage({ costUsd: Number.NaN })],
    [/inputTokens must be a whole number/, (ctx) => ctx.usage({ inputTokens: 1.5 })],
    [/outputTokens must be a whole number/, (ctx) => ctx.usage({ outputTokens: -1 })],
    [/percent must be a number from 0 to 100/, (ctx) => ctx.progress(101)],
    [/percent must be a number from 0 to 100/, (ctx) => ctx.progress("5" as never)],
  ];
  for (const [message, call] of wrong) {
    const action = await turn((ctx) => void call(ctx));
    assert.ok(action.action === "fail", String(message));
    assert.match(action.error.message, message);
  }
  const fine = await turn((ctx) => {
    // Replaced and removed ones do not count.
    for (let round = 0; round < 10; round += 1) ctx.set("a/b#", "x".repeat(200_000));
    ctx.unset("a/b#");
    ctx.set("b", "x".repeat(262_000));
    ctx.set("__proto__", 1);
    return Object.keys(ctx.vars);
  });
  assert.deepEqual(fine.action === "complete" && fine.output, ["b", "__proto__"]);
});

test("a note that was refused is not counted", async () => {
  const action = await turn((ctx) => {
    try {
      ctx.usage({ inputTokens: -1 });
    } catch {
      ctx.log.info("refused");
    }
  });
  assert.deepEqual(noted(action), { logs: [["info", "refused"]], noted: 1 });
});

test("an action has at most a hundred lines of two thousand characters", async () => {
  const action = await turn((ctx) => {
    for (let line = 0; line < 150; line += 1) ctx.log.info(`${line} ${"x".repeat(3000)}`);
  });
  assert.ok(action.action === "complete" && action.logs !== undefined);
  assert.deepEqual([action.logs.length, action.logs[0]?.message.length, action.noted], [100, 2000, 150]);
});

test("money is added up without a binary fraction", () => {
  const sum = new UsageSum();
  for (let count = 0; count < 10; count += 1) sum.add({ costUsd: 0.1 });
  sum.add({ costUsd: 1e-7 });
  sum.add({ costUsd: 1.5e-10 });
  sum.add({ costUsd: "999999999999999" });
  assert.deepEqual(sum.written(), { cost_usd: "1000000000000000.00000010015" });
});

test("in the body of a step there is a key for what must not happen twice, and nowhere else", async () => {
  const action = await turn(async (ctx, { step }) => [await step("a", () => ctx.idempotencyKey), ctx.idempotencyKey], records(record("a", { output: "wf_1:1:a" })));
  assert.ok(action.action === "fail");
  assert.match(action.error.message, /answers only inside a step's body/);
  const inside = await turn((ctx, { step }) => step("a", async () => (await null, ctx.idempotencyKey)));
  assert.equal(inside.action === "step_complete" && inside.output, "wf_1:1:a");
});
