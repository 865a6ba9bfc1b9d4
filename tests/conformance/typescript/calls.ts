/** The workflow `conformance.calls`: each helper of a kit once, as a case's data asks for it. WORKFLOWS.md says how. */
import { type MemberContext, StepFailedError, TimedOutError, type WorkflowContext } from "@pylon-workflows/runner";

type Fields = Record<string, any>;
export type Call = Fields;

/** Does what the call says and gives what it comes to; with `catch` also a final failure. */
export async function attempted(ctx: WorkflowContext, call: Call): Promise<unknown> {
  try {
    return (await done(ctx, call)) ?? null;
  } catch (error) {
    if (call["catch"] !== true || !(error instanceof StepFailedError)) throw error;
    return { caught: error.message, timed_out: error instanceof TimedOutError };
  }
}

async function done(ctx: WorkflowContext, call: Call): Promise<unknown> {
  if ("all" in call) return await Promise.all(call["all"].map((inner: Call) => attempted(ctx, inner)));
  if ("step" in call) return await ctx.step(call["step"], () => body(ctx, call));
  if ("skip" in call) return await ctx.skip(call["skip"], call["reason"]);
  if ("operation" in call) {
    const { operation: name, kind, input } = call;
    return await ctx.operation(name, { kind, input, execute: () => name });
  }
  if ("shell" in call) return await ctx.shell(call["shell"], call["command"]);
  if ("sleep" in call) return await ctx.sleep(call["sleep"], taken(call, "name"));
  if ("until" in call) return await ctx.sleepUntil(call["until"], taken(call, "name"));
  if ("event" in call) return await ctx.waitForEvent(call["event"], taken(call, "timeout", "on_timeout", "match", "correlation"));
  if ("hook" in call) return await ctx.waitForHook(call["hook"], taken(call, "timeout", "on_timeout", "match"));
  if ("approval" in call) {
    const { approved, by, comment, data, timedOut } = await ctx.approval(call["approval"], taken(call, "message", "data", "timeout", "on_timeout"));
    return { approved, by, comment, data, timed_out: timedOut };
  }
  if ("parallel" in call) {
    const members = Object.fromEntries(call["members"].map((name: string) => [name, () => member(name)]));
    return await ctx.parallel(call["parallel"], members, taken(call, "fail_fast", "max_in_flight"));
  }
  if ("map" in call) return await ctx.map(call["map"], call["items"], item, taken(call, "fail_fast", "max_in_flight"));
  if ("child" in call) return await ctx.child(call["child"], call["input"] ?? null, taken(call, "name", "id", "wait", "on_parent_close"));
  if ("continue_as_new" in call) return await ctx.continueAsNew(call["continue_as_new"]);
  if ("now" in call) return ctx.now().toISOString();
  if ("vars" in call) return { ...ctx.vars };
  if ("hook_url" in call) return ctx.hookUrl(call["hook_url"]);
  return note(ctx, call);
}

/** The given options under the names that TypeScript has for them. */
function taken(call: Call, ...names: string[]): Fields {
  const camel = (name: string): string => name.replace(/_[a-z]/g, (letters) => letters.slice(1).toUpperCase());
  return Object.fromEntries(names.filter((name) => name in call).map((name) => [camel(name), call[name]]));
}

function note(ctx: WorkflowContext, call: Call): null {
  if ("set" in call) for (const [name, value] of Object.entries(call["set"])) ctx.set(name, value);
  else if ("unset" in call) ctx.unset(call["unset"]);
  else if ("usage" in call) ctx.usage(spent(call["usage"]));
  else if ("progress" in call) ctx.progress(call["progress"].percent, call["progress"].message);
  else if ("log" in call) ctx.log.info(call["log"]);
  else throw new Error(`no such call: ${JSON.stringify(call)}`);
  return null;
}

function spent({ cost_usd: costUsd, input_tokens: inputTokens, output_tokens: outputTokens }: Fields): Fields {
  return { costUsd, inputTokens, outputTokens };
}

function body(ctx: WorkflowContext, { step, notes = [], error, hook_url_inside: hook }: Call): string {
  for (const one of notes) note(ctx, one);
  if (error !== undefined) throw new Error(error);
  return hook === undefined ? step : ctx.hookUrl(hook);
}

function member(name: string): string {
  if (name === "bad") throw new Error("a bad member");
  return name;
}

function item(item: unknown, { attempt, idempotencyKey, usage }: MemberContext): unknown {
  if (item === "bad") throw new Error("a bad item");
  if (item === "dear") usage({ costUsd: "0.5" });
  return { item, attempt, key: idempotencyKey };
}
