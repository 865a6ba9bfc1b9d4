/** The conformance workflows in TypeScript; runner_protocol/conformance/WORKFLOWS.md describes each in words. */
import {
  NonRetryableError,
  RetryAfter,
  StepFailedError,
  workflow,
  type WorkflowContext,
  type WorkflowDefinition,
} from "@pylon-workflows/runner";

type Member = { sleep: string } | { event: string; timeout?: string } | { step: string };

const runs = new Map<string, number>();

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
      if (how === "later") throw new RetryAfter("the bank is closed", "30s");
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

  workflow<{ sleeps: { duration: string; name?: string }[] }>("conformance.sleep", async ({ input }, { sleep }) => {
    for (const { duration, name } of input.sleeps) await sleep(duration, name === undefined ? {} : { name });
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
        await new Promise((resolve) => setTimeout(resolve, input.delay_s * 1000));
        return { key: idempotencyKey, name: input.name };
      });
    return [await who(), await who()];
  }),

  workflow("conformance.clock", async (ctx, { step }) => {
    const started = ctx.now().toISOString();
    await step("work", () => started);
    return { started, finished: ctx.now().toISOString() };
  }),

  workflow("conformance.random", async (ctx, { step }) => {
    const before = draw(ctx);
    await step("draw", () => before);
    return { before, after: draw(ctx) };
  }),
];

function draw(ctx: WorkflowContext): { number: number; uuid: string } {
  return { number: ctx.random(), uuid: ctx.uuid() };
}
