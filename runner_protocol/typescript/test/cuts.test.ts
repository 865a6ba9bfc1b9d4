/** The law that streams stand on: wherever the connection is cut, the instance comes to the same, and nothing is done twice. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { NonRetryableError, StepFailedError, type WorkflowFunction } from "../src/index.js";
import { Random } from "../src/random.js";
import { tell, type Told, type World } from "./instance.js";

type Began = (step: { key: string }) => void;

const corpus: Record<string, [(began: Began) => WorkflowFunction<any, unknown>, World?]> = {
  "steps of one name side by side, each followed by another of one name": [
    (began) => (_, { step }) =>
      Promise.all(
        [3, 1, 2].map(async (delay) => {
          const first = await step("fetch", async (own) => {
            began(own);
            for (let hop = 0; hop < delay; hop += 1) await new Promise((resolve) => void setImmediate(resolve));
            return delay;
          });
          return [first, await step("store", (own) => (began(own), first * 10))];
        }),
      ),
  ],
  "waits of one name side by side": [
    () => (_, { waitForEvent, sleep, sleepUntil }) =>
      Promise.all([waitForEvent("paid"), waitForEvent("paid", { timeout: "1h" }), waitForEvent("paid", { timeout: "1h" }), sleep("1h"), sleepUntil("2027-01-01T00:00:00Z")]),
    { events: { paid: [{ n: 1 }, { n: 2 }] } },
  ],
  "siblings that fail": [
    (began) => async (ctx, { step }) => {
      const settled = await Promise.allSettled(
        ["a", "b", "c", "d"].map((name) =>
          step(name, (own) => {
            began(own);
            own.log.info(`${name} ${own.attempt}`);
            own.usage({ costUsd: "0.1", inputTokens: own.attempt });
            if (name === "b" && own.attempt < 3) throw new Error("later");
            if (name === "c") throw new NonRetryableError("never");
            return name;
          }),
        ),
      );
      ctx.set("settled", settled.length);
      return settled.map((one) => (one.status === "fulfilled" ? one.value : (one.reason as Error).message));
    },
  ],
  "a failure that is caught": [
    (began) => async (ctx, { step, skip }) => {
      try {
        await step("charge", (own) => {
          began(own);
          throw new Error(`declined ${own.attempt}`);
        }, { retries: 1 });
      } catch (error) {
        assert.ok(error instanceof StepFailedError);
        ctx.log.info(`caught after ${error.attempts}`);
        await skip("ship", "not paid");
        return [error.message, await step("apologise", (own) => (began(own), ctx.now().toISOString() !== ""))];
      }
      return "not reached";
    },
  ],
  "maps and parallels side by side with steps": [
    (began) => async (ctx, { step, map, parallel }) => {
      ctx.log.info("began");
      const [items, both, one] = await Promise.all([
        map("resize", [1, 2, 3], (item, own) => {
          began(own);
          own.usage({ outputTokens: item });
          if (item === 2 && own.attempt === 1) throw new Error("again");
          return item * own.total + own.index;
        }),
        parallel("checks", { lint: (own) => (began(own), "clean"), size: { kind: "measure", input: { of: "it" }, execute: (own) => (began(own), 42) } }),
        step("one", (own) => (began(own), 1)),
      ]);
      ctx.set("sum", items.reduce((sum, item) => sum + item, 0));
      const failed = await map("failing", ["x"], (item) => Promise.reject(new NonRetryableError(item))).catch((error: StepFailedError) => [error.kind, error.message]);
      return { items, both, one, failed, sum: ctx.vars["sum"] };
    },
  ],
  "a loop with variables": [
    (began) => async (ctx, { step, sleep }) => {
      for (let round = 1; round <= 3; round += 1) {
        ctx.set({ round, last: ctx.uuid() });
        ctx.progress(round * 30, `round ${round}`);
        const drawn = await step("draw", (own) => (began(own), own.usage({ costUsd: 0.1 }), round * 2));
        ctx.usage({ costUsd: "0.000000000000000001", inputTokens: drawn });
        ctx.log.info(`drew ${drawn} at ${ctx.random()}`);
        if (round === 2) ctx.unset("last");
        await sleep("1m");
      }
      return [ctx.vars, ctx.history.steps, ctx.currentStep];
    },
  ],
  "runs that follow one another": [
    (began) => async (ctx, { step, waitForEvent }) => {
      const { left } = ctx.input as { left: number };
      const total = ((ctx.vars["total"] as number | undefined) ?? 0) + (await step("count", (own) => (began(own), left)));
      ctx.set("total", total);
      ctx.log.info(`run ${ctx.run}`);
      if (left === 2) await waitForEvent("go");
      try {
        if (left > 0) await ctx.continueAsNew({ left: left - 1 });
      } catch {
        return "swallowed";
      }
      return [total, ctx.run];
    },
    { input: { left: 3 }, events: { go: [1] } },
  ],
  "decisions and children": [
    (began) => async (ctx, { approval, child, step }) => {
      const [yes, late, shipped, started] = await Promise.all([
        approval("ship", { message: "Ship it?", data: { n: 1 } }),
        approval("late", { timeout: "1d" }),
        child("shipping", { n: 1 }),
        child("mailing", null, { wait: false, id: "mail-1", onParentClose: "abandon" }),
      ]);
      const failed = await child("broken", {}, { name: "b" }).catch((error: StepFailedError) => error.message);
      const timedOut = await approval("strict", { timeout: 0, onTimeout: "fail" }).catch((error: Error) => error.name);
      return [yes.approved, late.approved, late.timedOut, shipped, started, failed, timedOut, await step("end", (own) => (began(own), ctx.parent))];
    },
    {
      decisions: { ship: true },
      children: {
        shipping: ({ n }) => n + 1,
        broken: () => {
          throw new Error("no truck");
        },
      },
    },
  ],
};

function outcome({ end, keys, vars, usage, progress, logs }: Told): object {
  return { end: withoutStack(end), keys, vars, usage, progress, logs };
}

function withoutStack(end: Told["end"]): object {
  return end.action === "complete" ? { action: "complete", output: end.output } : end;
}

for (const [name, [fn, world = {}]] of Object.entries(corpus)) {
  test(`cut after any line: ${name}`, async () => {
    const whole = await tell(fn, world);
    assert.equal(whole.end.action, "complete");
    assert.deepEqual(await tell(fn, world).then(outcome), outcome(whole));
    for (let line = 0; line < whole.lines; line += 1) {
      let cuts = 0;
      const cut = await tell(fn, world, (lines) => lines === line && (cuts += 1) === 1);
      assert.equal(cuts, 2);
      assert.deepEqual(outcome(cut), outcome(whole), `cut after ${line} lines`);
    }
  });

  test(`cut again and again: ${name}`, async () => {
    const whole = outcome(await tell(fn, world));
    assert.deepEqual(outcome(await tell(fn, world, (_, taken) => taken === 1)), whole, "one line an answer");
    for (let seed = 1; seed <= 20; seed += 1) {
      const chance = new Random(String(seed));
      assert.deepEqual(outcome(await tell(fn, world, () => chance.number() < 0.4)), whole, `schedule ${seed}`);
    }
  });

  test(`one action a turn comes to the same: ${name}`, async () => {
    assert.deepEqual(outcome(await tell(fn, { ...world, stream: false })), outcome(await tell(fn, world)));
  });
}
