// The workflow of tests/faults/every_helper.py, in TypeScript: `node every_helper.js --port PORT --log FILE`
import { appendFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { createRunner, NonRetryableError, StepFailedError, workflow, type StepContext } from "@pylon-workflows/runner";

const { values: options } = parseArgs({ options: { port: { type: "string", default: "0" }, log: { type: "string", default: "" } } });

/** Notes that a step's body begins, and when. */
function ran(step: StepContext): void {
  const [id, run, ...key] = step.idempotencyKey.split(":");
  appendFileSync(options.log, JSON.stringify({ id, run: Number(run), key: key.join(":"), at_ms: Date.now() }) + "\n");
}

const echo =
  <T>(value: T) =>
  async (step: StepContext): Promise<T> => {
    ran(step);
    await pause(20);
    return value;
  };

const small = workflow<{ n: number }>("small", async (ctx) => {
  ctx.usage({ costUsd: "0.0005" });
  await ctx.sleep("10ms");
  return ctx.step("triple", echo(ctx.input.n * 3));
});

const everything = workflow<{ n: number; url: string }>("everything", async (ctx) => {
  if (ctx.run === 2) return { ...ctx.input, stage: ctx.vars.stage, kept: !("gone" in ctx.vars) };
  const { n, url } = ctx.input;
  ctx.set({ stage: "first", gone: true });
  ctx.usage({ costUsd: "0.01", inputTokens: n });
  ctx.progress(10, "begun");
  ctx.log.info(`begun with ${n}`);
  const found: Record<string, unknown> = {};
  const failAtFirst = (step: StepContext) => {
    ran(step);
    if (step.attempt === 1) throw new Error("not yet");
    return "at last";
  };
  found.flaky = await ctx.step("flaky", failAtFirst, { retries: 3, backoff: "10ms", timeout: "30s" });
  found.pair = await Promise.all([ctx.step("pair", echo(n)), ctx.step("pair", echo(n + 1))]);
  await ctx.skip("reminder", "there is nothing to remind of");
  await ctx.sleep("20ms");
  await ctx.sleepUntil(ctx.now());
  found.event = await ctx.waitForEvent("go", { match: { n }, timeout: "10m" });
  found.late = await ctx.waitForEvent("never", { timeout: "20ms" });
  const gate = await ctx.approval("gate", { message: "Go on?", data: { n } });
  found.gate = [gate.approved, gate.by];
  ctx.set("stage", "second");
  ctx.unset("gone");
  found.squares = await ctx.map("squares", [1, 2, 3, 4, 5], (item, member) => echo(item * item)(member), { maxInFlight: 2 });
  found.both = await ctx.parallel("both", { left: echo(n), right: echo(-n) });
  found.child = await ctx.child("small", { n });
  found.shell = await ctx.shell("shell", ["echo", String(n)]);
  found.http = (await ctx.http("http", "GET", url, { ok: [405] })).status;
  const counting = { kind: "count", input: "x".repeat(n), execute: (step: StepContext) => (ran(step), n) };
  found.count = await ctx.operation("count", counting);
  try {
    await ctx.step("refused", (step) => {
      ran(step);
      throw new NonRetryableError("never");
    });
  } catch (error) {
    if (!(error instanceof StepFailedError)) throw error;
    found.refused = error.message;
  }
  const drawn = ctx.random();
  found.stable = (await ctx.step("draw", echo(drawn))) === drawn;
  ctx.progress(90);
  await ctx.continueAsNew(found);
  return undefined;
});

const server = await createRunner([everything, small]).serve(Number(options.port));
console.log(`runner listening on ${server.url}`);
