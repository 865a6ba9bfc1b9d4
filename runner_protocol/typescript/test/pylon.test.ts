/** What pylon's own runner does wrong: the reasons to move here. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { StepFailedError, workflow } from "../src/index.js";
import { drive } from "./engine.js";

test("a workflow of two steps completes, and each step runs once", async () => {
  const ran: string[] = [];
  const { end, actions } = await drive(
    workflow("order", async (_, { step }) => {
      const a = await step("a", () => (ran.push("a"), 1));
      const b = await step("b", async () => (ran.push("b"), a + 1));
      return { a, b };
    }),
  );
  assert.deepEqual(end, { action: "complete", output: { a: 1, b: 2 } });
  assert.deepEqual(ran, ["a", "b"]);
  assert.equal(actions.length, 3);
});

test("steps of one name in a loop each keep their own output", async () => {
  const { end, records: kept } = await drive(
    workflow("order", async (_, { step }) => {
      const seen: number[] = [];
      for (let index = 0; index < 4; index += 1) seen.push(await step("double", () => index * 2));
      return seen;
    }),
  );
  assert.deepEqual(end, { action: "complete", output: [0, 2, 4, 6] });
  assert.deepEqual(kept.map(({ key }) => key), ["double", "double#2", "double#3", "double#4"]);
});

test("a final failure that is caught does not fail the workflow", async () => {
  let tries = 0;
  const { end } = await drive(
    workflow("order", async (_, { step }) => {
      try {
        await step("charge", () => {
          tries += 1;
          throw new Error("card declined");
        });
      } catch (error) {
        assert.ok(error instanceof StepFailedError);
        return { step: error.stepName, key: error.key, message: error.message, attempts: error.attempts };
      }
      return "not reached";
    }),
    { maxRetries: 2 },
  );
  assert.equal(tries, 3);
  assert.deepEqual(end, { action: "complete", output: { step: "charge", key: "charge", message: "card declined", attempts: 3 } });
});

test("Promise.all of steps runs one a turn and gives each its own result", async () => {
  const { end, actions } = await drive(
    workflow("order", (_, { step }) => Promise.all([1, 2, 3].map((number) => step("square", () => number * number)))),
  );
  assert.deepEqual(end, { action: "complete", output: [1, 4, 9] });
  assert.deepEqual(actions.map(({ action }) => action), ["step_complete", "step_complete", "step_complete", "complete"]);
});
