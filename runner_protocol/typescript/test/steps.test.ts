import assert from "node:assert/strict";
import { test } from "node:test";
import { NonRetryableError, RetryAfter, workflow, type WorkflowHelpers } from "../src/index.js";
import { drive, record, records, turn } from "./engine.js";

test("a step's answer carries its name, key, output and times", async () => {
  const action = await turn((_, { step }) => step("charge", () => ({ id: "ch_1" })));
  assert.equal(action.action, "step_complete");
  const { started_at, completed_at, duration_ms, ...rest } = action;
  assert.deepEqual(rest, { action: "step_complete", step_name: "charge", key: "charge", after: 0, output: { id: "ch_1" } });
  assert.ok(Number.isInteger(duration_ms) && duration_ms >= 0);
  assert.equal(Date.parse(completed_at) - Date.parse(started_at), duration_ms);
});

test("a step is told its attempt, the last error and a key that stays the same", async () => {
  const seen: unknown[] = [];
  const { end } = await drive(
    workflow("order", async (_, { step }) => {
      await step("first", () => null);
      return await step("flaky", ({ signal, usage: _u, progress: _p, log: _l, ...about }) => {
        seen.push(about);
        assert.equal(signal.aborted, false);
        if (about.attempt < 3) throw new Error(`no ${about.attempt}`);
        return about.attempt;
      });
    }),
  );
  const idempotencyKey = "wf_1:1:flaky";
  assert.deepEqual(seen, [
    { key: "flaky", attempt: 1, maxAttempts: 4, lastError: null, idempotencyKey },
    { key: "flaky", attempt: 2, maxAttempts: 4, lastError: "no 1", idempotencyKey },
    { key: "flaky", attempt: 3, maxAttempts: 4, lastError: "no 2", idempotencyKey },
  ]);
  assert.deepEqual(end, { action: "complete", output: 3 });
});

test("the idempotency key names the run and the key within it", async () => {
  const action = await turn((_, { step }) => Promise.all([step("a", () => 1), step("a", (s) => s.idempotencyKey)]), {
    run: 7,
    ...records(record("a", { output: 1 })),
  });
  assert.equal(action.action === "step_complete" && action.output, "wf_1:7:a#2");
});

test("a failed step answers fail with what was thrown", async () => {
  const action = await turn((_, { step }) =>
    step("charge", () => {
      throw Object.assign(new RangeError("too much"), { code: "E_LIMIT", data: { limit: 5 } });
    }),
  );
  assert.equal(action.action, "fail");
  const { error, started_at, completed_at, duration_ms, ...rest } = action;
  assert.deepEqual(rest, { action: "fail", step_name: "charge", key: "charge", after: 0, on_exhausted: "throw" });
  const { stack, ...detail } = error;
  assert.deepEqual(detail, { type: "RangeError", message: "too much", code: "E_LIMIT", data: { limit: 5 } });
  assert.match(stack ?? "", /steps\.test/);
  assert.ok(started_at && completed_at && duration_ms !== undefined);
});

test("an author can forbid a retry, date it, or count them", async () => {
  const thrown = async (error: unknown, retries?: number) => {
    const action = await turn((_, { step }) =>
      step("charge", ({ maxAttempts }) => {
        if (retries !== undefined) assert.equal(maxAttempts, retries + 1);
        throw error;
      }, retries === undefined ? {} : { retries }),
    );
    assert.equal(action.action, "fail");
    return { retryable: action.retryable, retry_after: action.retry_after, max_retries: action.max_retries };
  };
  const nothing = { retryable: undefined, retry_after: undefined, max_retries: undefined };
  assert.deepEqual(await thrown(new Error("x")), nothing);
  assert.deepEqual(await thrown(new NonRetryableError("x")), { ...nothing, retryable: false });
  assert.deepEqual(await thrown(new RetryAfter("1m", "x")), { ...nothing, retry_after: "1m" });
  assert.deepEqual(await thrown(new RetryAfter(2.5)), { ...nothing, retry_after: "2.5s" });
  assert.equal(new RetryAfter("1m").message, "asked to be tried again later");
  const cause = new Error("why");
  const later = new RetryAfter("1h", "the bank is closed", { cause });
  assert.deepEqual([later.delay, later.message, later.cause], ["1h", "the bank is closed", cause]);
  assert.throws(() => new RetryAfter("the bank is closed", "1h"), /the bank is closed/);
  assert.deepEqual(await thrown(new Error("x"), 0), { ...nothing, max_retries: 0 });
});

test("a final failure nobody catches fails the workflow for good, under no step's name", async () => {
  const { end } = await drive(
    workflow("order", (_, { step }) => step("charge", () => { throw new NonRetryableError("declined"); })),
  );
  assert.equal(end.action, "fail");
  assert.equal(end.retryable, false);
  assert.equal(end.step_name, undefined);
  assert.equal(end.key, undefined);
  assert.equal(end.on_exhausted, undefined);
  assert.equal(end.error.type, "StepFailedError");
  assert.equal(end.error.message, "step 'charge' failed: declined");
});

test("a final failure that is caught and thrown again fails the workflow for good", async () => {
  const failedStep = { ...record("a", { status: "failed", error: "no", final: true }) };
  const action = await turn(async (_, { step }) => {
    try {
      return await step("a", () => 1);
    } catch (error) {
      throw error;
    }
  }, records(failedStep));
  assert.equal(action.action === "fail" && action.retryable, false);
  const any = await turn((_, { step }) => Promise.any([step("a", () => 1)]), records(failedStep));
  assert.equal(any.action === "fail" && any.retryable, false);
});

test("any other error of the workflow's own code may be tried again", async () => {
  const action = await turn(() => { throw new TypeError("oops"); });
  assert.equal(action.action, "fail");
  assert.equal("retryable" in action, false);
  assert.equal("step_name" in action, false);
  assert.equal(action.error.type, "TypeError");
  const never = await turn(() => { throw new NonRetryableError("oops"); });
  assert.equal(never.action === "fail" && never.retryable, false);
});

test("a helper called inside a step's body fails that step with a sentence, not with silence", async () => {
  const calls: Record<string, (helpers: WorkflowHelpers) => unknown> = {
    "step('inner')": ({ step }) => step("inner", () => 1),
    sleep: ({ sleep }) => void sleep("1h"),
    "waitForEvent('paid')": async ({ waitForEvent }) => (await null, await waitForEvent("paid")),
  };
  for (const [shown, call] of Object.entries(calls)) {
    const action = await turn((_, helpers) => helpers.step("outer", () => call(helpers)));
    assert.equal(action.action, "fail");
    assert.equal(action.retryable, false);
    assert.equal(action.error.message, `${shown} was called inside the body of the step 'outer'; call helpers from the workflow's function only`);
  }
});

test("a step may drive another workflow in the same process", async () => {
  const inner = workflow("inner", (_, { step }) => step("b", () => 5));
  const action = await turn((_, { step }) => step("a", async () => (await drive(inner)).end));
  assert.deepEqual(action.action === "step_complete" && action.output, { action: "complete", output: 5 });
});

test("what a workflow returns is null when it returns nothing, and refused when it is no JSON", async () => {
  assert.deepEqual(await turn(() => undefined), { action: "complete", output: null });
  const action = await turn(() => ({ total: Number.NaN }));
  assert.equal(action.action, "fail");
  assert.equal(action.retryable, false);
  assert.equal(action.error.message, "the result of the workflow 'order' is not lossless JSON: $.total is NaN, which JSON does not have");
});

test("a step's result that is no JSON fails the step and names the place", async () => {
  const action = await turn((_, { step }) => step("a", () => ({ rows: [1, { id: 5n }] })));
  assert.equal(action.action, "fail");
  assert.equal(action.retryable, false);
  assert.equal(action.key, "a");
  assert.equal(action.error.type, "JsonError");
  assert.equal(action.error.message, "the result of the step 'a' is not lossless JSON: $.rows[1].id is a bigint, which JSON does not have");
});

test("a promise is no answer of retryIf: the definition's retries count", async (t) => {
  const complaints = t.mock.method(console, "error", () => undefined);
  const action = await turn((_, { step }) =>
    step(
      "charge",
      () => {
        throw new Error("declined");
      },
      { retryIf: (async () => Promise.reject(new Error("later"))) as unknown as () => boolean },
    ),
  );
  assert.equal(action.action === "fail" && action.retryable, undefined);
  assert.match(String(complaints.mock.calls[0]?.arguments[1]), /retryIf must answer at once/);
});
