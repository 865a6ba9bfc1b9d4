// The workflows of tests/faults/schedules/corpus.py, in TypeScript: `node corpus.js [--port N] [--no-stream]`
import { setImmediate as letOthersRun } from "node:timers/promises";
import { parseArgs } from "node:util";
import { createRunner, NonRetryableError, StepFailedError, TimedOutError, workflow, type StepContext, type WorkflowContext } from "@pylon-workflows/runner";

/** Bodies take a while of random length. */
async function pause(): Promise<void> {
  for (let left = Math.floor(Math.random() * 12); left > 0; left -= 1) await letOthersRun();
}

const echo =
  <T>(value: T) =>
  async (): Promise<T> => {
    await pause();
    return value;
  };

const flaky =
  <T>(value: T, failures: number) =>
  async ({ attempt }: StepContext): Promise<T> => {
    await pause();
    if (attempt <= failures) throw new Error("not yet");
    return value;
  };

const doomed = async (): Promise<never> => {
  await pause();
  throw new NonRetryableError("never");
};

const copy = (input: string) => ({
  kind: "copy",
  input,
  execute: async () => {
    await pause();
    return input.toUpperCase();
  },
});

async function square(number: number | string, { attempt }: StepContext): Promise<number> {
  await pause();
  if (typeof number === "string") throw new NonRetryableError("no number");
  if (number % 3 === 0 && attempt === 1) throw new Error("not yet");
  return number * number;
}

async function caught(awaited: Promise<unknown>): Promise<unknown> {
  try {
    return await awaited;
  } catch (error) {
    if (error instanceof TimedOutError) return "too late";
    if (error instanceof StepFailedError) return `caught ${error.message}`;
    throw error;
  }
}

const workflows = [
  workflow<{ branches: number; steps: number }>("same-names", async ({ input }, { step }) => {
    const branch = async (index: number): Promise<string[]> => {
      const found = [];
      for (let place = 0; place < input.steps; place += 1) found.push(await step("x", echo(`${index}.${place}`)));
      return found;
    };
    return Promise.all(Array.from({ length: input.branches }, (_, index) => branch(index)));
  }),

  workflow("waits", async (_, { approval, sleep, step, waitForEvent }) => {
    const gate = approval("gate");
    const found = await Promise.all([
      waitForEvent("a"),
      waitForEvent("b", { match: { n: 2 } }),
      sleep("1h"),
      waitForEvent("b", { match: { n: 1 } }),
      step("s", echo("s")),
      waitForEvent("never", { timeout: "2h" }),
      caught(waitForEvent("never", { timeout: "30m", onTimeout: "fail" })),
      sleep("10m", { name: "nap" }),
    ]);
    return [...found.map((one) => one ?? null), (await gate).approved];
  }),

  workflow("siblings", async (_, { step }) => {
    const found = await Promise.allSettled([
      step("ok", echo(1)),
      step("flaky", flaky(2, 2), { retries: 5, backoff: "3s" }),
      step("doomed", doomed),
      step("flaky", flaky(3, 1), { retries: 1, backoff: "1m" }),
      step("spent", flaky(4, 9), { retries: 2 }),
      step("ok", echo(5)),
    ]);
    const shown = found.map((one) => (one.status === "fulfilled" ? one.value : one.reason.message));
    return [...shown, await step("after", echo(shown.length))];
  }),

  workflow("caught", async (_, { child, parallel, step }) => {
    const tried = [await caught(step("doomed", doomed)), await caught(child("broken", null))];
    tried.push(await caught(parallel("checks", { good: echo(1), bad: doomed }, { failFast: false })));
    tried.push(await caught(step("spent", flaky(1, 9), { retries: 1 })));
    return [...tried, await step("compensate", echo("done"))];
  }),

  workflow("broken", async (_, { step }) => {
    await step("first", echo(1));
    await step("doomed", doomed);
  }),

  workflow("groups", async (_, { map, parallel, step }) => {
    const twice = async (): Promise<number[]> => map("m", await map("m", [1, 2, 3], square, { maxInFlight: 2 }), square);
    return Promise.all([
      twice(),
      parallel("p", { a: echo("A"), b: echo("B"), c: copy("c") }),
      step("s", echo("s")),
      caught(map("bad", [1, "bad", 3, "bad"], square, { failFast: false })),
      twice(),
      map("none", [], square),
    ]);
  }),

  workflow<{ n: number }>("leaf", async (ctx) => {
    ctx.usage({ costUsd: "0.01", inputTokens: 1 });
    await ctx.sleep("5m");
    return ctx.step("double", echo(ctx.input.n * 2));
  }),

  workflow<{ depth: number }>("family", async (ctx) => {
    const { depth } = ctx.input;
    const kin: Promise<unknown>[] = [];
    const own = ctx.step("s", echo(depth));
    for (const n of [depth, depth + 10]) kin.push(ctx.child("leaf", { n }, { name: "l" }));
    if (depth > 1) kin.push(ctx.child("family", { depth: depth - 1 }));
    const found = await Promise.all([own, ...kin]);
    ctx.usage({ costUsd: "0.1" });
    return found;
  }),

  workflow<{ turns: number }>("variables", async (ctx) => {
    ctx.set({ total: 0, gone: true });
    for (let number = 0; number < ctx.input.turns; number += 1) {
      ctx.progress(number);
      ctx.usage({ costUsd: "0.1", outputTokens: number });
      const added: number = await ctx.step("add", async (step) => {
        step.usage({ costUsd: "0.01" });
        return echo(number)();
      });
      ctx.set("total", ctx.vars.total + added);
      ctx.log.info(`at ${number}`);
      if (number % 3 === 0) await ctx.sleep("10m");
    }
    ctx.unset("gone");
    return { ...ctx.vars };
  }),

  workflow<{ page: number; last: number }>("pages", async (ctx) => {
    const { page, last } = ctx.input;
    ctx.set("pages", [...(ctx.vars.pages ?? []), page]);
    const rows = await Promise.all([0, 1, 2].map((row) => ctx.step("row", echo([page, row]))));
    ctx.usage({ inputTokens: rows.length });
    if (page % 2) await ctx.waitForEvent("tick");
    if (page < last) await ctx.continueAsNew({ ...ctx.input, page: page + 1 });
    return { rows, vars: { ...ctx.vars } };
  }),

  workflow("everything", async (ctx: WorkflowContext) => {
    const found: unknown[] = [await ctx.operation("copy", copy("text"))];
    found.push((await ctx.approval("first")).approved);
    found.push(await ctx.map("m", [1, 2, 3, 4, 5], (item) => echo(item)(), { maxInFlight: 3 }));
    await ctx.skip("remind", "no need");
    found.push(await ctx.waitForEvent("go"));
    found.push(await ctx.child("leaf", { n: 3 }));
    found.push(await caught(ctx.child("broken", null)));
    found.push(await Promise.all([ctx.step("x", echo(1)), ctx.step("x", flaky(2, 1), { retries: 3 })]));
    await ctx.sleepUntil("2026-01-01T03:00:00Z");
    found.push((await ctx.approval("second")).approved);
    found.push(await ctx.parallel("p", { a: echo(1), b: copy("b") }));
    return [...found, await ctx.step("last", echo("end"))];
  }),
];

const { values } = parseArgs({ options: { port: { type: "string", default: "0" }, "no-stream": { type: "boolean", default: false } } });
const server = await createRunner(workflows, { stream: !values["no-stream"] }).serve(Number(values.port), { host: "127.0.0.1" });
console.log(`runner listening on ${server.url}`);
