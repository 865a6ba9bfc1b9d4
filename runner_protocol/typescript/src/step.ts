/** Runs one attempt of a step's body and words its outcome for the engine. */
import type { AsyncLocalStorage } from "node:async_hooks";
import { describeError, isFinal, RetryAfter } from "./errors.js";
import { toJson } from "./json.js";
import type { Fail, StepComplete, TurnRequest } from "./messages.js";
import type { Call, Failures } from "./replay.js";
import type { StepContext } from "./workflow.js";

interface Running {
  turn: object;
  name: string;
}

/** Tells a helper that it is called from inside a body. Runtimes without it cannot tell; there such a step hangs until its deadline. */
const running: AsyncLocalStorage<Running> | null = (() => {
  const hooks = globalThis.process?.getBuiltinModule?.("node:async_hooks");
  return hooks === undefined ? null : new hooks.AsyncLocalStorage<Running>();
})();

/** The step of this turn from whose body the present code was called. */
export function runningStep(turn: object): string | null {
  const found = running?.getStore();
  return found?.turn === turn ? found.name : null;
}

export async function runStep(
  turn: object,
  call: Call<"step">,
  request: TurnRequest,
  failures: Failures,
  signal: AbortSignal,
): Promise<StepComplete | Fail> {
  const { retries } = call.options;
  const step: StepContext = {
    key: call.key,
    attempt: failures.count + 1,
    maxAttempts: retries === undefined ? request.max_attempts : retries + 1,
    lastError: failures.lastError,
    idempotencyKey: `${request.workflow_id}:${request.run}:${call.key}`,
    signal,
  };
  const body = async (): Promise<unknown> => await call.body(step);
  const startedAt = new Date();
  const start = performance.now();
  const times = (): Pick<StepComplete, "started_at" | "completed_at" | "duration_ms"> => {
    const duration = Math.max(0, Math.round(performance.now() - start));
    // Not a second look at the clock, which may have been set back meanwhile.
    const completedAt = new Date(startedAt.getTime() + duration);
    return { started_at: startedAt.toISOString(), completed_at: completedAt.toISOString(), duration_ms: duration };
  };
  try {
    const result = await (running === null ? body() : running.run({ turn, name: call.name }, body));
    const output = toJson(result, `the result of the step '${call.name}'`);
    return { action: "step_complete", step_name: call.name, key: call.key, output, ...times() };
  } catch (thrown) {
    return stepFailure(call, thrown, times());
  }
}

function stepFailure(call: Call<"step">, thrown: unknown, times: Partial<Fail>): Fail {
  const { retries } = call.options;
  return {
    ...failure(thrown),
    step_name: call.name,
    key: call.key,
    ...(retries === undefined ? {} : { max_retries: retries }),
    on_exhausted: "throw",
    ...times,
  };
}

/** A `fail` with what the thrown error says about trying again. */
export function failure(thrown: unknown): Fail {
  return {
    action: "fail",
    error: describeError(thrown),
    ...(isFinal(thrown) ? { retryable: false } : {}),
    ...(thrown instanceof RetryAfter ? { retry_after: thrown.retryAfter } : {}),
  };
}
