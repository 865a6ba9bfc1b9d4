/** Workflows as their authors write them. */
import type { WorkflowContext } from "./context.js";
import { type Duration, wireDuration } from "./durations.js";
import type { WorkflowHelpers } from "./helpers.js";
import { type Json, toJson } from "./json.js";

/** What the engine is told of a workflow when it asks; what is left out is the engine's. */
export interface WorkflowOptions {
  /** The version of the code: an instance goes on with the version that its run started with. */
  version?: string | undefined;
  description?: string | undefined;
  maxRetries?: number | undefined;
  /** How long one turn without a line may take, and with it a step without a timeout of its own. */
  stepTimeout?: Duration | undefined;
  /** The JSON schema of the input. */
  inputSchema?: Record<string, unknown> | undefined;
}

/** The author's function. It is run again from the start on each turn, so between helpers it must do the same each time. */
export type WorkflowFunction<Input, Output> = (
  context: WorkflowContext<Input>,
  helpers: WorkflowHelpers,
) => Output | Promise<Output>;

export interface WorkflowDefinition<Input = any, Output = unknown> {
  readonly name: string;
  /** Null for code that goes on with instances of any version. */
  readonly version: string | null;
  readonly description: string | null;
  readonly maxRetries: number | null;
  readonly stepTimeout: string | null;
  readonly inputSchema: Record<string, Json> | null;
  readonly fn: WorkflowFunction<Input, Output>;
}

/** Defines a workflow; `name` is that under which the engine starts it. */
export function workflow<Input = any, Output = unknown>(
  name: string,
  fn: WorkflowFunction<Input, Output>,
): WorkflowDefinition<Input, Output>;
export function workflow<Input = any, Output = unknown>(
  name: string,
  options: WorkflowOptions,
  fn: WorkflowFunction<Input, Output>,
): WorkflowDefinition<Input, Output>;
export function workflow<Input, Output>(
  name: string,
  ...rest: [WorkflowFunction<Input, Output>] | [WorkflowOptions, WorkflowFunction<Input, Output>]
): WorkflowDefinition<Input, Output> {
  const [options, fn] = rest.length === 1 ? [{}, rest[0]] : rest;
  checkText("a workflow's name", name);
  if (typeof fn !== "function") throw new TypeError(`the workflow '${name}' needs a function`);
  const { version = null, description = null, maxRetries = null, stepTimeout, inputSchema } = options;
  if (version !== null) checkText(`the version of the workflow '${name}'`, version);
  if (maxRetries !== null && !(Number.isSafeInteger(maxRetries) && maxRetries >= 0)) {
    throw new RangeError(`the workflow '${name}': maxRetries must be a whole number, 0 or more, not ${maxRetries}`);
  }
  return {
    name,
    version,
    description,
    maxRetries,
    stepTimeout: stepTimeout === undefined ? null : wireDuration(stepTimeout),
    inputSchema: inputSchema === undefined ? null : (toJson(inputSchema, `the input schema of '${name}'`) as Record<string, Json>),
    fn,
  };
}

function checkText(what: string, value: unknown): void {
  if (typeof value !== "string" || value === "") throw new TypeError(`${what} must be a string that is not empty`);
  if ([...value].length > 128) throw new TypeError(`${what} has at most 128 characters`);
}
