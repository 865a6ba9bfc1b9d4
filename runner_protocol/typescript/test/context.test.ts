import assert from "node:assert/strict";
import { test } from "node:test";
import { workflow, type WorkflowFunction } from "../src/index.js";
import { drive, record, records, STARTED_AT, time, turn } from "./engine.js";

test("now is that of the last record handed out", async () => {
  const fn: WorkflowFunction<any, unknown> = async (ctx, { step, sleep }) => {
    const seen = [ctx.now()];
    await step("a", () => 1);
    seen.push(ctx.now());
    await sleep("1h");
    seen.push(ctx.now());
    return seen;
  };
  const kept = records(record("a", { completed_at: time(5) }), record("sleep", { kind: "sleep", completed_at: time(3605) }));
  assert.deepEqual(await turn(fn, { ...kept, now: time(3605) }), { action: "complete", output: [STARTED_AT, time(5), time(3605)] });
});

test("random numbers are the same in each replay, whatever a step's body draws", async () => {
  const fn = (draws: number) =>
    workflow("order", async (ctx, { step }) => {
      const before = [ctx.random(), ctx.random(), ctx.uuid()];
      await step("a", () => {
        for (let index = 0; index < draws; index += 1) ctx.random();
      });
      return [...before, ctx.random(), ctx.uuid()];
    });
  const [one, other] = [await drive(fn(0)), await drive(fn(3))];
  assert.deepEqual(one.end, other.end);
  assert.equal(one.end.action, "complete");
  const drawn = one.end.output as (number | string)[];
  assert.equal(new Set(drawn).size, 5);
  for (const value of drawn) {
    if (typeof value === "number") assert.ok(value >= 0 && value < 1);
    else assert.match(value, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  }
  const elsewhere = await turn((ctx) => ctx.random(), { seed: "ffeeddccbbaa99887766554433221100" });
  assert.notEqual(elsewhere.action === "complete" && elsewhere.output, drawn[0]);
});

test("the context tells what it belongs to, and the helpers are on it too", async () => {
  const { end } = await drive(
    workflow<{ user: string }>("order", async (ctx) => {
      const { step } = ctx;
      const before = ctx.currentStep;
      await step("a", () => 1);
      await ctx.sleep("1h");
      const event = await ctx.waitForEvent<string>("paid");
      const { id, workflowId, name, workflowName, input, run, runNumber, workflowVersion, startedAt, currentStep } = ctx;
      const keys = ctx.completedSteps.map(({ key }) => key);
      return { id, workflowId, name, workflowName, input, run, runNumber, workflowVersion, startedAt, before, currentStep, keys, event };
    }),
    { input: { user: "alice" }, events: { paid: ["yes"] } },
  );
  assert.deepEqual(end, {
    action: "complete",
    output: {
      id: "wf_1",
      workflowId: "wf_1",
      name: "order",
      workflowName: "order",
      input: { user: "alice" },
      run: 1,
      runNumber: 1,
      workflowVersion: null,
      startedAt: STARTED_AT,
      before: 0,
      currentStep: 3,
      keys: ["a", "sleep", "event:paid"],
      event: "yes",
    },
  });
});
