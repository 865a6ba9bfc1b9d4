import assert from "node:assert/strict";
import { test } from "node:test";
import { workflow, type WorkflowFunction, type WorkflowHelpers } from "../src/index.js";
import { drive, record, records, turn } from "./engine.js";

test("records are handed out in recorded order, so that branches which use one name do not swap outputs", async () => {
  // First pass: both branches asked for x and y; y was recorded before x, so z belongs to the second branch and z#2 to the first.
  const branch = async (step: WorkflowHelpers["step"], name: string) => [await step(name, () => ""), await step("z", () => "")];
  const fn: WorkflowFunction<any, unknown> = (_, { step }) => Promise.all([branch(step, "x"), branch(step, "y")]);
  const action = await turn(fn, records(record("y", { output: "y" }), record("x", { output: "x" }), record("z", { output: "z of y" }), record("z#2", { output: "z of x" })));
  assert.deepEqual(action, { action: "complete", output: [["x", "z of x"], ["y", "z of y"]] });
});

test("a branch with many plain awaits between its helpers is waited for", async () => {
  const late = async (step: WorkflowHelpers["step"]) => {
    await step("x", () => 0);
    for (let index = 0; index < 100; index += 1) await null;
    return await step("z", () => 0);
  };
  const early = async (step: WorkflowHelpers["step"]) => (await step("y", () => 0), await step("z", () => 0));
  const action = await turn(
    (_, { step }) => Promise.all([late(step), early(step)]),
    records(record("x"), record("y"), record("z", { output: "late" }), record("z#2", { output: "early" })),
  );
  assert.deepEqual(action, { action: "complete", output: ["late", "early"] });
});

test("no step's body starts before all records are handed out", async () => {
  const ran: string[] = [];
  const action = await turn(
    (_, { step }) => Promise.all([step("a", () => ran.push("a")), step("b", () => ran.push("b")), step("c", () => ran.push("c"))]),
    records(record("c"), record("b")),
  );
  assert.deepEqual(ran, ["a"]);
  assert.equal(action.action === "step_complete" && action.key, "a");
});

test("sequential code may await what is no helper", async () => {
  const pause = () => new Promise<void>((resolve) => setTimeout(resolve, 1));
  const { end } = await drive(
    workflow("order", async (_, { step }) => {
      await pause();
      const a = await step("a", async () => (await pause(), 1));
      await pause();
      const b = await step("b", () => a + 1);
      await pause();
      return b;
    }),
  );
  assert.deepEqual(end, { action: "complete", output: 2 });
});

test("user code cannot swallow a pause", async () => {
  const swallow = async <T>(promise: Promise<T>): Promise<T | string> => {
    try {
      return await promise;
    } catch {
      return "swallowed";
    } finally {
      await null;
    }
  };
  const { end, actions } = await drive(
    workflow("order", async (_, { step, sleep, waitForEvent }) => [
      await swallow(step("a", () => 1)),
      await swallow(sleep("1h")),
      await swallow(waitForEvent("paid")),
      await swallow(step("b", () => 2)),
    ]),
    { events: { paid: ["yes"] } },
  );
  assert.equal(actions.length, 5);
  assert.deepEqual(end, { action: "complete", output: [1, null, "yes", 2] });
});

test("a record that the code does not ask for is reported with both sides named", async () => {
  const fn: WorkflowFunction<any, unknown> = async (_, { step }) => {
    await step("email", () => 1);
    await step("charge", () => 2);
  };
  assert.deepEqual(await turn(fn, records(record("charge"), record("email"))), { action: "diverged", position: 0, expected: "charge", got: "email" });
  assert.deepEqual(await turn(fn, records(record("email"), record("ship"))), { action: "diverged", position: 1, expected: "ship", got: "charge" });
});

test("a record left over when the function has ended is reported", async () => {
  const fn: WorkflowFunction<any, unknown> = async (_, { step }) => await step("a", () => 1);
  assert.deepEqual(await turn(fn, records(record("a"), record("b"))), {
    action: "diverged",
    position: 1,
    expected: "b",
    got: "the end of the workflow",
  });
  const throwing = await turn(() => { throw new TypeError("oops"); }, records(record("a")));
  assert.equal(throwing.action === "diverged" && throwing.got, "the end of the workflow (it threw TypeError: oops)");
});

test("of several calls the first that is not answered stands for the code", async () => {
  const action = await turn((_, { step }) => Promise.all([step("a", () => 1), step("b", () => 1), step("c", () => 1)]), records(record("a"), record("x")));
  assert.deepEqual(action, { action: "diverged", position: 1, expected: "x", got: "b" });
});

test("a step named sleep is never given a sleep's record", async () => {
  const action = await turn((_, { step }) => step("sleep", () => 1), records(record("sleep", { kind: "sleep" })));
  assert.deepEqual(action, { action: "diverged", position: 0, expected: "sleep (a sleep)", got: "sleep (a step)" });
});

test("a step's record may name a kind of its own", async () => {
  assert.deepEqual(await turn((_, { step }) => step("get", () => 1), records(record("get", { kind: "http", output: 5 }))), { action: "complete", output: 5 });
});

test("the same record twice is a divergence, not an output given twice", async () => {
  const action = await turn((_, { step }) => step("a", () => 1).then(() => step("b", () => 1)), records(record("a"), record("a")));
  assert.deepEqual(action, { action: "diverged", position: 1, expected: "a", got: "b" });
});

test("records that were asked for but not awaited when the function ends are ignored", async () => {
  const race: WorkflowFunction<any, unknown> = (_, { step }) => Promise.race([step("a", () => 1), step("b", () => 2)]);
  assert.deepEqual(await turn(race, records(record("a", { output: 1 }), record("b", { output: 2 }))), { action: "complete", output: 1 });
  const both = records(record("a", { output: 1 }), record("b", { output: 2 }), record("c"));
  assert.equal((await turn(race, both)).action, "diverged");
});

test("what was skipped fits only a call that skips, and that call nothing else", async () => {
  const skipped = records(record("remind", { status: "skipped" }));
  assert.deepEqual(await turn((_, { skip }) => skip("remind", "no need"), skipped), { action: "complete", output: null });
  assert.deepEqual(await turn((_, { step }) => step("remind", () => 1), skipped), { action: "diverged", position: 0, expected: "remind (a skip)", got: "remind (a step)" });
  assert.deepEqual(await turn((_, { skip }) => skip("remind", "no need"), records(record("remind"))), { action: "diverged", position: 0, expected: "remind (a step)", got: "remind (a skip)" });
});

test("a final failure that is awaited only later reaches the code there", async () => {
  const lost: unknown[] = [];
  const note = (reason: unknown): unknown => lost.push(reason);
  process.on("unhandledRejection", note);
  const action = await turn(async (_, { step }) => {
    const early = step("early", () => 1);
    await step("late", () => 2);
    return await early.catch((error: Error) => error.message);
  }, records(record("early", { status: "failed", final: true, error: "no" }), record("late")));
  await new Promise(setImmediate);
  process.off("unhandledRejection", note);
  assert.deepEqual(action, { action: "complete", output: "no" });
  assert.deepEqual(lost, []);
});

test("what the abandoned function does later changes nothing", async () => {
  const ran: string[] = [];
  let goOn = (): void => undefined;
  const gate = new Promise<void>((resolve) => (goOn = resolve));
  const action = await turn((_, { step }) => Promise.all([step("a", () => 1), gate.then(() => step("late", () => ran.push("late")))]));
  goOn();
  await new Promise(setImmediate);
  assert.equal(action.action === "step_complete" && action.key, "a");
  assert.deepEqual(ran, []);
});

test("a thousand records are replayed quickly, also when each hands a branch on", async () => {
  const fn: WorkflowFunction<any, unknown> = async (_, { step }) => {
    let sum = 0;
    for (let index = 0; index < 1000; index += 1) sum += await step("add", () => 0);
    return sum;
  };
  const kept = records(...Array.from({ length: 1000 }, (_, index) => record(index === 0 ? "add" : `add#${index + 1}`, { output: 1 })));
  const start = performance.now();
  assert.deepEqual(await turn(fn, kept), { action: "complete", output: 1000 });
  // A hop by setTimeout would take over a second.
  assert.ok(performance.now() - start < 700);
});
