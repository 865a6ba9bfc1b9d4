/** Workflows as their authors write them. */
import type { WorkflowContext } from "./context.js";
import type { Duration } from "./durations.js";

/** What a step's body is told about the attempt. */
export interface StepContext {
  /** The step's name, with `#2`, `#3`... when the run has had the name before. */
  readonly key: string;
  /** From 1. An attempt whose answer was lost does not count. */
  readonly attempt: number;
  /** How many attempts there are, all in all; null when the engine did not say. */
  readonly maxAttempts: number | null;
  /** The message of the failed attempt before this one. */
  readonly lastError: string | null;
  /** The same for all attempts of this step, and for no other step: pass it on to whatever must not happen twice. */
  readonly idempotencyKey: string;
  /** Aborted when the engine has gone and waits for this step no longer. */
  readonly signal: AbortSignal;
}

/** A step's body; what it returns must be JSON. */
export type StepBody<T> = (step: StepContext) => T | Promise<T>;

export interface StepOptions {
  /** How often a failed step is tried again, in place of the definition's `max_retries`. */
  retries?: number | undefined;
}

export interface SleepOptions {
  /** Gives the sleep a key of its own (`sleep:<name>`). */
  name?: string | undefined;
}

export interface WaitForEventOptions {
  /** How long to wait at most; after it the result is null. */
  timeout?: Duration | undefined;
}

/** The durable operations, handed to a workflow as its second argument and there on its context as well. */
export interface WorkflowHelpers {
  /** Runs `body` once and remembers its result. Throws StepFailedError when its retries are used up. */
  step<T>(name: string, body: StepBody<T>, options?: StepOptions): Promise<T>;
  /** Pauses the workflow; no process waits meanwhile. */
  sleep(duration: Duration, options?: SleepOptions): Promise<void>;
  /** Waits for an event and returns its data; null when the timeout came first. */
  waitForEvent<T = any>(event: string, options?: { timeout?: undefined }): Promise<T>;
  waitForEvent<T = any>(event: string, options: WaitForEventOptions): Promise<T | null>;
}

/** The author's function. It is run again from the start on each turn, so between helpers it must do the same each time. */
export type WorkflowFunction<Input, Output> = (
  context: WorkflowContext<Input>,
  helpers: WorkflowHelpers,
) => Output | Promise<Output>;

export interface WorkflowDefinition<Input = any, Output = unknown> {
  readonly name: string;
  readonly fn: WorkflowFunction<Input, Output>;
}

/** Defines a workflow; `name` is that under which the engine starts it. */
export function workflow<Input = any, Output = unknown>(
  name: string,
  fn: WorkflowFunction<Input, Output>,
): WorkflowDefinition<Input, Output> {
  if (typeof name !== "string" || name === "") throw new TypeError("a workflow's name must be a string that is not empty");
  if (typeof fn !== "function") throw new TypeError(`the workflow '${name}' needs a function`);
  return { name, fn };
}
