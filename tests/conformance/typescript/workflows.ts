/** The conformance workflows in TypeScript; runner_protocol/conformance/WORKFLOWS.md describes each in words. */
import {
  NonRetryableError,
  RetryAfter,
  StepFailedError,
  workflow,
  type WorkflowContext,
  type WorkflowDefinition,
} from "@pylon-workflows/runner";
import { attempted, type Call } from "./calls.js";

type Work = { name: string; delay_s?: number; after?: string; error?: string; timeout?: string | number; breaks?: string };
type Member = { sleep: string } | { event: string; timeout?: string } | { step: string };

const runs = new Map<string, number>();
const ended = new Map<string, Set<string>>();
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export const workflows: WorkflowDefinition[] = [
  workflow<{ n?: unknown }>("plain", async ({ input: { n } }, { step, sleep, waitForEvent }) => {
    const doubled = await step("double", () => {
      if (typeof n !== "number") throw new TypeError("n is not a number");
      return n * 2;
    });
    await sleep("1s");
    const go = await waitForEvent<{ n: number }>("go");
    return { total: await step("add", () => doubled + go.n) };
  }),

  workflow("conformance.echo", ({ input }) => input),

  workflow<{ n: number }>("conformance.sequence", async ({ input }, { step }) => {
    const first = await step("first", () => input.n + 1);
    const second = await step("second", () => first * 10);
    return { first, second };
  }),

  workflow<{ items: unknown[] }>("conformance.loop", async ({ input }, { step }) => {
    const outputs = [];
    for (const item of input.items) outputs.push(await step("item", () => item));
    return outputs;
  }),

  workflow<{ name: string }>("conformance.named", async ({ input: { name } }, { step }) => step(name, () => name)),

  workflow<{ failures: number }>("conformance.attempts", async ({ input }, { step }) => {
    await step("prepare", () => "ready");
    return step("charge", ({ attempt }) => {
      if (attempt <= input.failures) throw new Error(`declined at attempt ${attempt}`);
      return { attempt };
    });
  }),

  workflow("conformance.catch", async (_, { step }) => {
    try {
      const charged = await step("charge", (): string => {
        throw new Error("card declined");
      });
      return { charged };
    } catch (error) {
      if (!(error instanceof StepFailedError)) throw error;
      return { caught: error.message, apologised: await step("apologise", () => error.message) };
    }
  }),

  workflow<{ how: string; retries?: number }>("conformance.fail", async ({ input: { how, retries } }, { step }) => {
    const charge = (): unknown => {
      if (how === "for good") throw new NonRetryableError("the card is stolen");
      if (how === "later") throw new RetryAfter("30s", "the bank is closed");
      if (how === "not json") return NaN;
      if (how === "too large") return "x".repeat(5 * 1024 * 1024);
      throw new Error("card declined");
    };
    return step("charge", charge, retries === undefined ? {} : { retries });
  }),

  workflow("conformance.broken", async (_, { step }) => {
    await step("first", () => 1);
    throw new Error("the workflow's own code is broken");
  }),

  workflow<{ token: string }>("conformance.count", async ({ input: { token } }, { step }) => {
    await step("count", () => {
      runs.set(token, (runs.get(token) ?? 0) + 1);
      return runs.get(token);
    });
    return step("read", () => runs.get(token) ?? 0);
  }),

  workflow<{ branches: string[][] }>("conformance.branches", async ({ input }, { step }) => {
    const branch = async (names: string[], index: number): Promise<string[]> => {
      const outputs = [];
      for (const [place, name] of names.entries()) outputs.push(await step(name, () => `${index}.${place}`));
      return outputs;
    };
    return Promise.all(input.branches.map(branch));
  }),

  workflow("conformance.crossed", async (_, { step }) => {
    const first = step("same", () => "first");
    const second = step("same", () => "second");
    const awaitedFirst = await second;
    return { first: await first, second: awaitedFirst };
  }),

  workflow<{ names: string[] }>("conformance.race", async ({ input }, { step }) =>
    Promise.race(input.names.map((name) => step(name, () => name))),
  ),

  workflow<{ members: Member[] }>("conformance.together", async ({ input }, { step, sleep, waitForEvent }) => {
    const call = (member: Member): Promise<unknown> => {
      if ("sleep" in member) return sleep(member.sleep);
      if ("event" in member) return waitForEvent(member.event, member.timeout === undefined ? {} : { timeout: member.timeout });
      return step(member.step, () => member.step);
    };
    return Promise.all(input.members.map(call));
  }),

  workflow<{ sleeps: { duration?: string; until?: string; name?: string }[] }>("conformance.sleep", async ({ input }, ctx) => {
    for (const { duration, until, name } of input.sleeps) {
      if (until === undefined) await ctx.sleep(duration ?? 0, { name });
      else await ctx.sleepUntil(until, { name });
    }
    return "awake";
  }),

  workflow<{ waits: { event: string; timeout?: string }[] }>("conformance.wait", async ({ input }, { waitForEvent }) => {
    const got = [];
    for (const { event, timeout } of input.waits) got.push(await waitForEvent(event, timeout === undefined ? {} : { timeout }));
    return got;
  }),

  workflow("conformance.pause", async (_, { sleep }) => {
    try {
      await sleep("1h");
    } catch {
      return "the pause was swallowed";
    }
    return "awake";
  }),

  workflow<{ name: string; delay_s: number }>("conformance.who", async ({ input }, { step }) => {
    const who = (): Promise<unknown> =>
      step("who", async ({ idempotencyKey }) => {
        await pause(input.delay_s * 1000);
        return { key: idempotencyKey, name: input.name };
      });
    return [await who(), await who()];
  }),

  workflow("conformance.clock", async (ctx, { step }) => {
    const started = ctx.now().toISOString();
    await step("work", () => started);
    return { started, finished: ctx.now().toISOString() };
  }),

  workflow<{ calls: Call[] }>("conformance.calls", async (ctx) => {
    const outputs = [];
    for (const call of ctx.input.calls) outputs.push(await attempted(ctx, call));
    return outputs;
  }),

  workflow<{ branches: Work[][]; sleeps?: string[] }>("conformance.work", async ({ input, workflowId }, { step, sleep }) => {
    const done = ended.get(workflowId) ?? new Set();
    ended.set(workflowId, done);
    const branch = async (steps: Work[], index: number): Promise<string[]> => {
      const outputs = [];
      for (const [place, { name, delay_s = 0, after, error, timeout, breaks }] of steps.entries()) {
        const label = `${index}.${place}`;
        if (breaks !== undefined) {
          done.add(label);
          throw new Error(breaks);
        }
        const body = async (): Promise<string> => {
          await pause(delay_s * 1000);
          for (let ms = 0; after !== undefined && !done.has(after) && ms < 1000; ms += 2) await pause(2);
          done.add(label);
          if (error !== undefined) throw new Error(error);
          return label;
        };
        outputs.push(await step(name, body, { timeout }));
      }
      return outputs;
    };
    return Promise.all([...input.branches.map(branch), ...(input.sleeps ?? []).map((duration) => sleep(duration))]);
  }),

  workflow<{ token: string; delay_s: number }>("conformance.relay", async ({ input: { token, delay_s } }, { step }) => {
    const outputs = [];
    for (const name of ["one", "two", "three"]) {
      const output = await step(name, async () => {
        await pause(delay_s * 1000);
        runs.set(token, (runs.get(token) ?? 0) + 1);
        return runs.get(token);
      });
      outputs.push(output);
    }
    return outputs;
  }),

  workflow<{ cursor: number; last: number }>("conformance.continue", async ({ input, continueAsNew }, { step, sleep }) => {
    const waiting = sleep("1h");
    const page = await step("page", () => input.cursor);
    if (page < input.last) await continueAsNew({ ...input, cursor: page + 1 });
    await waiting;
    return page;
  }),

  workflow("conformance.versions", { version: "1" }, () => "1"),
  workflow("conformance.versions", { version: "2" }, () => "2"),

  workflow("conformance.random", async (ctx, { step }) => {
    const before = draw(ctx);
    await step("draw", () => before);
    return { before, after: draw(ctx) };
  }),
];

function draw(ctx: WorkflowContext): { number: number; uuid: string } {
  return { number: ctx.random(), uuid: ctx.uuid() };
}
