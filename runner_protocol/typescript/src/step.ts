/** Runs one attempt of a step's body and words its outcome for the engine. */
import type { AsyncLocalStorage } from "node:async_hooks";
import type { RecordedAs } from "./calls.js";
import type { RunningStep } from "./context.js";
import { wireDuration } from "./durations.js";
import { describeError, isFinal, NoHooksError, retryAfterOf } from "./errors.js";
import { toJson } from "./json.js";
import type { Defer, Fail, StepComplete } from "./messages.js";
import { makeLog, NoteBook, readProgress } from "./notes.js";
import type { MemberContext, Policy } from "./options.js";
import { Random } from "./random.js";

/** One attempt that is to be made. `after` is null for a group's member, which makes no record of the run's. */
export interface Attempt {
  name: string;
  key: string;
  after: number | null;
  body: (step: MemberContext) => unknown;
  policy: Policy;
  recordedAs: RecordedAs | null;
  number: number;
  maxAttempts: number | null;
  lastError: string | null;
  idempotencyKey: string;
  member: { index: number; total: number } | null;
}

/** How it ended, and what the body noted meanwhile. */
export interface Outcome {
  action: StepComplete | Fail | Defer;
  notes: NoteBook;
}

type Timing = Pick<StepComplete, "started_at" | "completed_at" | "duration_ms">;

/** Longer than this no timer of JavaScript waits. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Tells a helper that it is called from inside a body. Runtimes without it cannot tell; there such a step hangs until its deadline. */
const running: AsyncLocalStorage<{ turn: object; step: RunningStep }> | null = (() => {
  const hooks = globalThis.process?.getBuiltinModule?.("node:async_hooks");
  return hooks === undefined ? null : new hooks.AsyncLocalStorage<{ turn: object; step: RunningStep }>();
})();

/** The step of this turn from whose body the present code was called. */
export function runningStep(turn: object): RunningStep | null {
  const found = running?.getStore();
  return found?.turn === turn ? found.step : null;
}

/** Never rejects; `controller` is the step's own, aborted also by who does not want the outcome any more. */
export async function runStep(turn: object, attempt: Attempt, controller: AbortController): Promise<Outcome> {
  const { name, key, policy, idempotencyKey } = attempt;
  const notes = new NoteBook();
  const context: MemberContext = {
    key,
    attempt: attempt.number,
    maxAttempts: policy.retries === null ? attempt.maxAttempts : policy.retries + 1,
    lastError: attempt.lastError,
    idempotencyKey,
    signal: controller.signal,
    usage: (spent) => notes.usage(spent),
    progress: (percent, message) => notes.progress(readProgress(percent, message)),
    log: makeLog((line) => notes.log(line)),
    ...(attempt.member as { index: number; total: number }),
  };
  const step: RunningStep = { name, idempotencyKey, notes, random: new Random(`${idempotencyKey}:${attempt.number}`) };
  const body = async (): Promise<unknown> => await attempt.body(context);
  const times = stopwatch();
  try {
    const result = await withinTime(attempt, controller, running === null ? body() : running.run({ turn, step }, body));
    const output = toJson(result, `the result of the step '${name}'`);
    return { action: { action: "step_complete", ...identity(attempt), output, ...attempt.recordedAs, ...times() }, notes };
  } catch (thrown) {
    if (thrown instanceof NoHooksError) return { action: putOff(thrown), notes };
    return { action: stepFailure(attempt, thrown, times()), notes };
  }
}

function identity({ name, key, after }: Attempt): { step_name: string; key: string; after?: number } {
  return { step_name: name, key, ...(after === null ? {} : { after }) };
}

/** By the clock that cannot be set back meanwhile. */
function stopwatch(): () => Timing {
  const startedAt = new Date();
  const start = performance.now();
  return () => {
    const duration = Math.max(0, Math.round(performance.now() - start));
    return { started_at: startedAt.toISOString(), completed_at: new Date(startedAt.getTime() + duration).toISOString(), duration_ms: duration };
  };
}

/** What the body comes to, or once its time is over an error; a body that goes on nevertheless is left to itself. */
async function withinTime({ name, policy }: Attempt, controller: AbortController, outcome: Promise<unknown>): Promise<unknown> {
  if (policy.timeout === null) return await outcome;
  const { seconds } = policy.timeout;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => {
        const error = Object.assign(new Error(`step '${name}' timed out after ${Number(seconds.toFixed(3))} s`), { name: "TimeoutError" });
        reject(error);
        controller.abort(error);
      },
      Math.min(seconds * 1000, MAX_TIMER_MS),
    );
  });
  try {
    return await Promise.race([outcome, late]);
  } finally {
    clearTimeout(timer);
  }
}

function stepFailure(attempt: Attempt, thrown: unknown, times: Timing): Fail {
  const { retries } = attempt.policy;
  return {
    ...judged(attempt, thrown),
    ...identity(attempt),
    ...attempt.recordedAs,
    ...(retries === null ? {} : { max_retries: retries }),
    on_exhausted: "throw",
    ...times,
  };
}

/** With what the author's options say of the error; one of these functions that fails itself decides nothing. */
function judged({ name, number, policy }: Attempt, thrown: unknown): Fail {
  const found = failure(thrown);
  if (found.retryable === false) return found;
  try {
    if (policy.retryIf !== null && !atOnce(policy.retryIf(thrown))) return { ...found, retryable: false };
    return policy.backoff === null || found.retry_after !== undefined ? found : { ...found, retry_after: wireDuration(policy.backoff(number)) };
  } catch (worse) {
    console.error(`the retryIf or backoff of the step '${name}' has failed; the definition's retries count`, worse);
    return found;
  }
}

/** A promise would be taken for a yes, whatever it comes to. */
function atOnce(answer: unknown): unknown {
  if (!(answer instanceof Promise)) return answer;
  answer.catch(() => undefined);
  throw new TypeError("retryIf must answer at once, and not with a promise");
}

/** Nothing has failed: the engine is to ask again. */
export function putOff(why: NoHooksError): Defer {
  return { action: "defer", retry_after: why.delay, reason: why.message };
}

/** A `fail` with what the thrown error says about trying again. */
export function failure(thrown: unknown): Fail {
  const retryAfter = retryAfterOf(thrown);
  return {
    action: "fail",
    error: describeError(thrown),
    ...(isFinal(thrown) ? { retryable: false } : {}),
    ...(retryAfter === undefined ? {} : { retry_after: retryAfter }),
  };
}
