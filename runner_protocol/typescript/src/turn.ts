/** One turn: runs the workflow's function against the records until an action is known, then abandons it (PROTOCOL.md section 8). */
import { Context, type Turn } from "./context.js";
import { NonRetryableError } from "./errors.js";
import { hop } from "./hop.js";
import { toJson } from "./json.js";
import type { Action, Complete, Defer, Fail, TurnRequest } from "./messages.js";
import { type Call, Replay, type Wanted } from "./replay.js";
import { failure, runningStep, runStep } from "./step.js";
import type { WorkflowDefinition } from "./workflow.js";

const GONE: Defer = { action: "defer", retry_after: "1s", reason: "the caller has gone" };

/** Answers a request; `signal` is aborted when nobody waits for the answer any more. */
export async function takeTurn(workflow: WorkflowDefinition, request: TurnRequest, signal: AbortSignal): Promise<Action> {
  const replay = new Replay(request);
  let end: Complete | Fail | null = null;
  let isOver = false;
  let wake = (): void => undefined;

  const turn: Turn = {
    ask(wanted: Wanted): Promise<unknown> {
      const outer = runningStep(turn);
      // Thrown, not rejected: a body that does not await the call must fail too.
      if (outer !== null) throw new NonRetryableError(nestedCall(wanted, outer));
      // The action is known and the function abandoned: whatever it still asks for is parked for ever.
      if (isOver) return new Promise(() => undefined);
      const answer = replay.ask(wanted);
      wake();
      return answer;
    },
    get handedOut() {
      return replay.handedOut;
    },
    get handedOutCount() {
      return replay.handedOutCount;
    },
  };
  const context = new Context(request, turn);

  /** Until every branch waits: for a helper, or, when none is called, for the function's own promises. */
  const settled = async (): Promise<void> => {
    await hop();
    while (end === null && !replay.isWaiting && !signal.aborted) {
      await new Promise<void>((resolve) => (wake = resolve));
      await hop();
    }
  };
  const onAbort = (): void => wake();
  signal.addEventListener("abort", onAbort);

  void outcome(workflow, context).then((action) => {
    end = action;
    wake();
  });
  try {
    for (;;) {
      await settled();
      if (end !== null) return replay.divergenceAtEnd(howItEnded(end)) ?? end;
      if (signal.aborted) return GONE;
      const next = replay.handOutNext();
      if (next === null) break;
      if ("action" in next) return next;
      context.advance(next);
    }
    isOver = true;
    return await act(turn, replay.nextCall(), request, replay, signal);
  } finally {
    isOver = true;
    signal.removeEventListener("abort", onAbort);
  }
}

async function act(turn: Turn, call: Call | null, request: TurnRequest, replay: Replay, signal: AbortSignal): Promise<Action> {
  switch (call?.kind) {
    case "step":
      return await runStep(turn, call, request, replay.failures(call.key), signal);
    case "sleep":
      return { action: "sleep", duration: call.duration, key: call.key, ...(call.name === null ? {} : { name: call.name }) };
    case "event":
      return { action: "wait_event", event: call.name, key: call.key, ...(call.timeout === null ? {} : { timeout: call.timeout }) };
    case undefined:
      throw new Error("a turn acts only when its workflow waits for something");
  }
}

/** How the function ends; a promise that stays open for as long as the function is parked. */
async function outcome(workflow: WorkflowDefinition, context: Context): Promise<Complete | Fail> {
  const { step, sleep, waitForEvent } = context;
  try {
    const output = await workflow.fn(context, { step, sleep, waitForEvent });
    return { action: "complete", output: toJson(output, `the result of the workflow '${workflow.name}'`) };
  } catch (thrown) {
    return failure(thrown);
  }
}

function howItEnded(end: Complete | Fail): string {
  return end.action === "complete" ? "" : ` (it threw ${end.error.type}: ${end.error.message.slice(0, 200)})`;
}

function nestedCall({ kind, name }: Wanted, outer: string): string {
  const called = { step: `step('${name}')`, sleep: "sleep", event: `waitForEvent('${name}')` }[kind];
  return `${called} was called inside the body of the step '${outer}'; call helpers from the workflow's function only`;
}
