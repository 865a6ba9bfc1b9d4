/**
 * `node build/test/conformance.js [port]`: the workflows that the conformance checker plays on (runner_protocol/conformance),
 * with this kit's helpers. They do what their Python twins do.
 */
import { setTimeout as delay } from "node:timers/promises";
import {
  createRunner,
  NonRetryableError,
  RetryAfterError,
  StepFailedError,
  workflow,
  type WorkflowFunction,
} from "../src/index.js";

const runs = new Map<string, number>();

const workflows: Record<string, WorkflowFunction<any, unknown>> = {
  plain: async (ctx, { step, sleep, waitForEvent }) => {
    const doubled = await step("double", () => {
      if (!Number.isInteger(ctx.input.n)) throw new TypeError("n is not a number");
      return ctx.input.n * 2;
    });
    await sleep("1s");
    const event = await waitForEvent("go");
    return { total: await step("add", () => doubled + event.n) };
  },
  "conformance.echo": (ctx) => ctx.input,
  "conformance.sequence": async (ctx, { step }) => {
    const first = await step("first", () => ctx.input.n + 1);
    return { first, second: await step("second", () => first * 10) };
  },
  "conformance.loop": async (ctx, { step }) => {
    const echoed: unknown[] = [];
    for (const item of ctx.input.items) echoed.push(await step("item", () => item));
    return echoed;
  },
  "conformance.named": (ctx, { step }) => step(ctx.input.name, () => ctx.input.name),
  "conformance.attempts": async (ctx, { step }) => {
    await step("prepare", () => "ready");
    return await step("charge", ({ attempt }) => {
      if (attempt <= ctx.input.failures) throw new Error(`declined at attempt ${attempt}`);
      return { attempt };
    });
  },
  "conformance.catch": async (_, { step }) => {
    try {
      return {
        charged: await step("charge", () => {
          throw new Error("card declined");
        }),
      };
    } catch (error) {
      if (!(error instanceof StepFailedError)) throw error;
      return { caught: error.message, apologised: await step("apologise", () => error.message) };
    }
  },
  "conformance.fail": async (ctx, { step }) => {
    const { how, retries } = ctx.input;
    const charge = (): number => {
      if (how === "for good") throw new NonRetryableError("the card is stolen");
      if (how === "later") throw new RetryAfterError("the bank is closed", "30s");
      if (how === "not json") return Number.NaN;
      throw new Error("card declined");
    };
    return await step("charge", charge, retries === undefined ? {} : { retries });
  },
  "conformance.broken": async (_, { step }) => {
    await step("first", () => 1);
    throw new Error("the workflow's own code is broken");
  },
  "conformance.count": async (ctx, { step }) => {
    const { token } = ctx.input;
    await step("count", () => {
      runs.set(token, (runs.get(token) ?? 0) + 1);
      return runs.get(token);
    });
    return await step("read", () => runs.get(token));
  },
  "conformance.branches": (ctx, { step }) => {
    const branch = async (index: number, names: string[]): Promise<unknown[]> => {
      const outputs: unknown[] = [];
      for (const [place, name] of names.entries()) outputs.push(await step(name, () => `${index}.${place}`));
      return outputs;
    };
    return Promise.all(ctx.input.branches.map((names: string[], index: number) => branch(index, names)));
  },
  "conformance.crossed": async (_, { step }) => {
    const [first, second] = [step("same", () => "first"), step("same", () => "second")];
    const awaitedFirst = await second;
    return { first: await first, second: awaitedFirst };
  },
  "conformance.race": (ctx, { step }) => Promise.race(ctx.input.names.map((name: string) => step(name, () => name))),
  "conformance.together": (ctx, { step, sleep, waitForEvent }) =>
    Promise.all(
      ctx.input.members.map((member: Record<string, string>) => {
        if (member["sleep"] !== undefined) return sleep(member["sleep"]);
        if (member["event"] !== undefined) return waitForEvent(member["event"], { ...(member["timeout"] ? { timeout: member["timeout"] } : {}) });
        return step(member["step"] ?? "", () => member["step"]);
      }),
    ),
  "conformance.sleep": async (ctx, { sleep }) => {
    for (const { duration, name } of ctx.input.sleeps) await sleep(duration, { name });
    return "awake";
  },
  "conformance.wait": async (ctx, { waitForEvent }) => {
    const got: unknown[] = [];
    for (const { event, timeout } of ctx.input.waits) got.push(await waitForEvent(event, { timeout }));
    return got;
  },
  "conformance.pause": async (_, { sleep }) => {
    try {
      await sleep("1h");
    } catch {
      return "the pause was swallowed";
    }
    return "awake";
  },
  "conformance.who": async (ctx, { step }) => {
    const answer = async ({ idempotencyKey }: { idempotencyKey: string }): Promise<unknown> => {
      await delay(ctx.input.delay_s * 1000);
      return { key: idempotencyKey, name: ctx.input.name };
    };
    return [await step("who", answer), await step("who", answer)];
  },
  "conformance.clock": async (ctx, { step }) => {
    const started = ctx.now();
    await step("work", () => started);
    return { started, finished: ctx.now() };
  },
  "conformance.random": async (ctx, { step }) => {
    const draw = (): object => ({ number: ctx.random(), uuid: ctx.uuid() });
    const before = draw();
    await step("draw", () => before);
    return { before, after: draw() };
  },
};

const runner = createRunner(Object.entries(workflows).map(([name, fn]) => workflow(name, fn)));
const server = await runner.serve(process.argv[2] === undefined ? undefined : Number(process.argv[2]));
console.log(`runner listening on ${server.url}`);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void server.close());
