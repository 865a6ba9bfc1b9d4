import assert from "node:assert/strict";
import { test } from "node:test";
import { createRunner, NonRetryableError, RetryAfterError, StepFailedError, workflow, type WorkflowHelpers } from "../src/index.js";
import { drive, record, records, request, STARTED_AT, time } from "./engine.js";

const turn = (fn: Parameters<typeof workflow>[1], more: Record<string, unknown> = {}) =>
  createRunner([workflow("order", fn)]).handleRequest(request(more));

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

test("a step's answer carries its name, key, output and times", async () => {
  const action = await turn((_, { step }) => step("charge", () => ({ id: "ch_1" })));
  assert.equal(action.action, "step_complete");
  const { started_at, completed_at, duration_ms, ...rest } = action;
  assert.deepEqual(rest, { action: "step_complete", step_name: "charge", key: "charge", output: { id: "ch_1" } });
  assert.ok(Number.isInteger(duration_ms) && duration_ms >= 0);
  assert.equal(Date.parse(completed_at) - Date.parse(started_at), duration_ms);
});

test("a step is told its attempt, the last error and a key that stays the same", async () => {
  const seen: unknown[] = [];
  const { end } = await drive(
    workflow("order", async (_, { step }) => {
      await step("first", () => null);
      return await step("flaky", ({ signal, ...about }) => {
        seen.push(about);
        assert.equal(signal.aborted, false);
        if (about.attempt < 3) throw new Error(`no ${about.attempt}`);
        return about.attempt;
      });
    }),
  );
  const idempotencyKey = "wf_1:1:flaky";
  assert.deepEqual(seen, [
    { attempt: 1, maxAttempts: 4, lastError: null, idempotencyKey },
    { attempt: 2, maxAttempts: 4, lastError: "no 1", idempotencyKey },
    { attempt: 3, maxAttempts: 4, lastError: "no 2", idempotencyKey },
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
  assert.deepEqual(rest, { action: "fail", step_name: "charge", key: "charge", on_exhausted: "throw" });
  const { stack, ...detail } = error;
  assert.deepEqual(detail, { type: "RangeError", message: "too much", code: "E_LIMIT", data: { limit: 5 } });
  assert.match(stack ?? "", /replay\.test/);
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
  assert.deepEqual(await thrown(new RetryAfterError("x", "1m")), { ...nothing, retry_after: "1m" });
  assert.deepEqual(await thrown(new RetryAfterError("x", 2.5)), { ...nothing, retry_after: "2.5s" });
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

test("sleeps and waits are answered with their key, duration and timeout", async () => {
  assert.deepEqual(await turn((_, { sleep }) => sleep(" 24h ")), { action: "sleep", duration: "24h", key: "sleep" });
  assert.deepEqual(await turn((_, { sleep }) => sleep(90)), { action: "sleep", duration: "90s", key: "sleep" });
  assert.deepEqual(await turn((_, { sleep }) => sleep("1s", { name: "launch" })), {
    action: "sleep",
    duration: "1s",
    name: "launch",
    key: "sleep:launch",
  });
  assert.deepEqual(await turn((_, { waitForEvent }) => waitForEvent("paid")), { action: "wait_event", event: "paid", key: "event:paid" });
  assert.deepEqual(await turn((_, { waitForEvent }) => waitForEvent("paid", { timeout: "3d" })), {
    action: "wait_event",
    event: "paid",
    key: "event:paid",
    timeout: "3d",
  });
});

test("a sleep's key does not depend on how long it is", async () => {
  const { records: kept } = await drive(
    workflow("order", async (_, { sleep }) => {
      await sleep("1h");
      await sleep("2h", { name: "long" });
      await sleep("3h");
    }),
  );
  assert.deepEqual(kept.map(({ key }) => key), ["sleep", "sleep:long", "sleep#2"]);
});

test("an event's data is returned as it is, and null when the timeout came first", async () => {
  const fn = workflow("order", async (_, { waitForEvent }) => [
    await waitForEvent("paid", { timeout: "1d" }),
    await waitForEvent("paid", { timeout: "1d" }),
    await waitForEvent("paid", { timeout: "1d" }),
  ]);
  const { end } = await drive(fn, { events: { paid: [{ amount: 5 }, { amount: 6 }] } });
  assert.deepEqual(end, { action: "complete", output: [{ amount: 5 }, { amount: 6 }, null] });
});

test("steps go before suspensions, and of several suspensions the first called is answered", async () => {
  const { end, actions } = await drive(
    workflow("order", (_, { step, sleep, waitForEvent }) =>
      Promise.all([waitForEvent("paid"), sleep("1h"), step("a", () => 1).then((a) => step("b", () => a + 1))]),
    ),
    { events: { paid: ["yes"] } },
  );
  assert.deepEqual(actions.map((action) => ("key" in action ? action.key : action.action)), ["a", "b", "event:paid", "sleep", "complete"]);
  assert.deepEqual(end, { action: "complete", output: ["yes", null, 2] });
});

test("records are handed out in recorded order, so that branches which use one name do not swap outputs", async () => {
  // First pass: both branches asked for x and y; y was recorded before x, so z belongs to the second branch and z#2 to the first.
  const branch = async (step: WorkflowHelpers["step"], name: string) => [await step(name, () => ""), await step("z", () => "")];
  const fn: Parameters<typeof workflow>[1] = (_, { step }) => Promise.all([branch(step, "x"), branch(step, "y")]);
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
  const fn: Parameters<typeof workflow>[1] = async (_, { step }) => {
    await step("email", () => 1);
    await step("charge", () => 2);
  };
  assert.deepEqual(await turn(fn, records(record("charge"), record("email"))), { action: "diverged", position: 0, expected: "charge", got: "email" });
  assert.deepEqual(await turn(fn, records(record("email"), record("ship"))), { action: "diverged", position: 1, expected: "ship", got: "charge" });
});

test("a record left over when the function has ended is reported", async () => {
  const fn: Parameters<typeof workflow>[1] = async (_, { step }) => await step("a", () => 1);
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
  const race: Parameters<typeof workflow>[1] = (_, { step }) => Promise.race([step("a", () => 1), step("b", () => 2)]);
  assert.deepEqual(await turn(race, records(record("a", { output: 1 }), record("b", { output: 2 }))), { action: "complete", output: 1 });
  const both = records(record("a", { output: 1 }), record("b", { output: 2 }), record("c"));
  assert.equal((await turn(race, both)).action, "diverged");
});

test("a skipped record is handed out as null", async () => {
  assert.deepEqual(await turn((_, { step }) => step("remind", () => 1), records(record("remind", { status: "skipped" }))), {
    action: "complete",
    output: null,
  });
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

test("bad names, durations and options are refused at the call", async () => {
  const wrong: [RegExp, (helpers: WorkflowHelpers) => unknown][] = [
    [/must not be empty/, ({ step }) => step("", () => 1)],
    [/must not contain '#'/, ({ step }) => step("a#2", () => 1)],
    [/must not contain '\['/, ({ step }) => step("a[0]", () => 1)],
    [/must not contain '\]'/, ({ step }) => step("a]", () => 1)],
    [/must not contain '\/'/, ({ waitForEvent }) => waitForEvent("a/b")],
    [/must not begin with 'event:'/, ({ step }) => step("event:a", () => 1)],
    [/must not begin with 'sleep:'/, ({ sleep }) => sleep("1s", { name: "sleep:a" })],
    [/at most 128 characters/, ({ step }) => step("é".repeat(129), () => 1)],
    [/must be a string, not number/, ({ step }) => step(5 as never, () => 1)],
    [/lone surrogate/, ({ step }) => step("\ud800", () => 1)],
    [/needs a function/, ({ step }) => step("a", "b" as never)],
    [/retries must be a whole number/, ({ step }) => step("a", () => 1, { retries: -1 })],
    [/retries must be a whole number/, ({ step }) => step("a", () => 1, { retries: 1.5 })],
    [/is no duration/, ({ sleep }) => sleep("soon")],
    [/must not be negative/, ({ sleep }) => sleep(-1)],
    [/at most 100 years/, ({ waitForEvent }) => waitForEvent("a", { timeout: "99999w" })],
  ];
  for (const [message, call] of wrong) {
    const action = await turn(async (_, helpers) => void (await call(helpers)));
    assert.equal(action.action, "fail");
    assert.match(action.error.message, message);
  }
  const longest = await turn((_, { step }) => step("𝄞".repeat(128), () => 1));
  assert.equal(longest.action, "step_complete");
});

test("a refused call takes no key", async () => {
  const action = await turn(async (_, { sleep }) => {
    await Promise.resolve().then(() => sleep("soon")).catch(() => undefined);
    await sleep("1h");
  });
  assert.deepEqual(action, { action: "sleep", duration: "1h", key: "sleep" });
});

test("now is that of the last record handed out", async () => {
  const fn: Parameters<typeof workflow>[1] = async (ctx, { step, sleep }) => {
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
      const { id, workflowId, name, workflowName, input, runNumber, workflowVersion, startedAt, currentStep } = ctx;
      const keys = ctx.completedSteps.map(({ key }) => key);
      return { id, workflowId, name, workflowName, input, runNumber, workflowVersion, startedAt, before, currentStep, keys, event };
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

test("a thousand records are replayed quickly, also when each hands a branch on", async () => {
  const fn: Parameters<typeof workflow>[1] = async (_, { step }) => {
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
