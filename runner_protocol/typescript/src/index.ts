/** @pylon-workflows/runner: durable workflows written in TypeScript. */
export type { WorkflowContext } from "./context.js";
export { type Duration, DurationError } from "./durations.js";
export { type ErrorDetail, NonRetryableError, RetryAfter, StepFailedError } from "./errors.js";
export { JsonError } from "./json.js";
export { NameError } from "./keys.js";
// RunnerResponse and StepResult are their names in pylon's runner.
export type { Action as RunnerResponse, StepRecord as StepResult } from "./messages.js";
export type { Action, Complete, Defer, Diverged, Fail, Sleep, StepComplete, StepRecord, WaitEvent } from "./messages.js";
export { MalformedRequestError } from "./requests.js";
export { createRunner, type WorkflowRunner } from "./runner.js";
export type { ServeOptions, ServerHandle } from "./server.js";
export {
  type SleepOptions,
  type StepBody,
  type StepContext,
  type StepOptions,
  type WaitForEventOptions,
  workflow,
  type WorkflowDefinition,
  type WorkflowFunction,
  type WorkflowHelpers,
} from "./workflow.js";
