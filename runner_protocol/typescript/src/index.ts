/** @pylon-workflows/runner: durable workflows written in TypeScript. */
export type { WorkflowContext } from "./context.js";
export { type Duration, DurationError } from "./durations.js";
export { type ErrorDetail, NonRetryableError, RetryAfter, StepFailedError, TimedOutError } from "./errors.js";
export type {
  ApprovalOptions,
  ChildOptions,
  Decision,
  GroupOptions,
  Member,
  Operation,
  SleepOptions,
  WaitForEventOptions,
  WaitForHookOptions,
  WorkflowHelpers,
} from "./helpers.js";
export type { HttpOptions, HttpResult } from "./http.js";
export { JsonError } from "./json.js";
export { NameError } from "./keys.js";
// RunnerResponse and StepResult are their names in pylon's runner.
export type { Action as RunnerResponse, StepRecord as StepResult } from "./messages.js";
export type {
  Action,
  Approval,
  Complete,
  ContinueAsNew,
  Defer,
  Description,
  Diverged,
  Fail,
  LogLevel,
  MapItems,
  Parallel,
  Sleep,
  StartChild,
  StepComplete,
  StepRecord,
  StepSkip,
  StepStart,
  WaitEvent,
} from "./messages.js";
export type { MemberContext, StepBody, StepContext, StepOptions } from "./options.js";
export type { Log } from "./notes.js";
export { MalformedRequestError } from "./requests.js";
export { createRunner, type RunnerOptions, type WorkflowRunner } from "./runner.js";
export type { ServeOptions, ServerHandle } from "./server.js";
export type { ShellOptions, ShellResult } from "./shell.js";
export type { Spent } from "./usage.js";
export { workflow, type WorkflowDefinition, type WorkflowFunction, type WorkflowOptions } from "./workflow.js";
