import assert from "node:assert/strict";
import { test } from "node:test";
import { workflow, type WorkflowHelpers } from "../src/index.js";
import { drive, turn } from "./engine.js";

test("sleeps and waits are answered with their key, duration and timeout", async () => {
  assert.deepEqual(await turn((_, { sleep }) => sleep(" 24h ")), { action: "sleep", duration: "24h", key: "sleep", after: 0 });
  assert.deepEqual(await turn((_, { sleep }) => sleep(90)), { action: "sleep", duration: "90s", key: "sleep", after: 0 });
  assert.deepEqual(await turn((_, { sleep }) => sleep("1s", { name: "launch" })), {
    action: "sleep",
    duration: "1s",
    name: "launch",
    key: "sleep:launch",
    after: 0,
  });
  assert.deepEqual(await turn((_, { waitForEvent }) => waitForEvent("paid")), { action: "wait_event", event: "paid", key: "event:paid", after: 0 });
  assert.deepEqual(await turn((_, { waitForEvent }) => waitForEvent("paid", { timeout: "3d" })), {
    action: "wait_event",
    event: "paid",
    key: "event:paid",
    after: 0,
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
  assert.deepEqual(action, { action: "sleep", duration: "1h", key: "sleep", after: 0 });
});
