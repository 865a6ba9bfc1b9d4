/**
 * What goes wrong in a step, and how an author says what is to follow.
 *
 *     StepFailedError     thrown into the workflow: a step, a child or a group has failed for good (its retries are used up)
 *       TimedOutError     thrown into the workflow: an event or a decision did not come in time, and `onTimeout` is "fail"
 *     NonRetryableError   thrown by a step: do not try this again
 *     RetryAfter          thrown by a step: try this again after the given time
 *       NoHooksError      thrown by the kit: the engine gives out no hook URLs yet; the turn is put off
 */
import { type Duration, wireDuration } from "./durations.js";
import { type Json, JsonError, toJson } from "./json.js";

/** An error as the wire carries it (PROTOCOL.md section 2). */
export interface ErrorDetail {
  type: string;
  message: string;
  code?: string | number;
  data?: Json;
  stack?: string;
}

/** A step has failed finally. Catch it to go on in another way; uncaught, it fails the workflow. */
export class StepFailedError extends Error {
  override readonly name: string = "StepFailedError";

  /** `message` is that of the last attempt's error; `attempts` counts the failed ones; `kind` tells a child or a group from a step. */
  constructor(
    readonly stepName: string,
    readonly key: string,
    message: string,
    readonly attempts: number,
    readonly kind: string = "step",
  ) {
    super(message);
  }
}

/** What was waited for did not come in time. */
export class TimedOutError extends StepFailedError {
  override readonly name = "TimedOutError";
}

/** Throw it from a step that must not be tried again. */
export class NonRetryableError extends Error {
  override name = "NonRetryableError";
}

/** Throw it from a step that is to be tried again after `delay`, in place of the usual backoff. */
export class RetryAfter extends Error {
  override name = "RetryAfter";
  readonly delay: string;

  constructor(delay: Duration, message = "asked to be tried again later", options?: ErrorOptions) {
    super(message, options);
    this.delay = wireDuration(delay);
  }
}

/** The engine does not say where it is called from outside. It puts off the turn, and is no failure. */
export class NoHooksError extends RetryAfter {
  override name = "NoHooksError";

  constructor(call: string) {
    super("10s", `${call}: the engine does not say where it is called from outside: start it with serve --hooks-url, PYLON_WORKFLOW_HOOKS_URL or EngineSettings(hooks_url=)`);
  }
}

/** Whether trying again cannot help, also of Promise.any's several errors. */
export function isFinal(thrown: unknown): boolean {
  try {
    if (thrown instanceof AggregateError) return thrown.errors.length > 0 && thrown.errors.every(isFinal);
    return thrown instanceof StepFailedError || thrown instanceof NonRetryableError || thrown instanceof JsonError;
  } catch {
    return false; // a proxy that refuses to be looked at, an error that holds itself
  }
}

/** When whoever threw it wants to be asked again. */
export function retryAfterOf(thrown: unknown): string | undefined {
  try {
    return thrown instanceof RetryAfter ? thrown.delay : undefined;
  } catch {
    return undefined;
  }
}

const MAX_TEXT = 16_384;
const MAX_DATA = 65_536;

/** Describes whatever was thrown; never throws itself, however odd the thing. */
export function describeError(thrown: unknown): ErrorDetail {
  try {
    return described(thrown);
  } catch {
    return { type: "Error", message: "what was thrown cannot be shown" };
  }
}

function described(thrown: unknown): ErrorDetail {
  if (typeof thrown !== "object" || thrown === null) return { type: "Error", message: text(thrown) };
  const detail: ErrorDetail = { type: typeOf(thrown), message: "" };
  detail.message = messageOf(thrown) || detail.type;
  const code = read(thrown, "code");
  if (typeof code === "string") detail.code = text(code);
  else if (Number.isSafeInteger(code)) detail.code = code as number;
  const data = dataOf(thrown);
  if (data !== undefined) detail.data = data;
  const stack = read(thrown, "stack");
  if (typeof stack === "string") detail.stack = text(stack);
  return detail;
}

function read(thrown: object, field: string): unknown {
  try {
    return (thrown as Record<string, unknown>)[field];
  } catch {
    return undefined;
  }
}

function typeOf(thrown: object): string {
  const name = read(thrown, "name");
  if (typeof name === "string" && name !== "" && name !== "Error") return text(name);
  const maker = read(thrown, "constructor");
  return (typeof maker === "function" && maker !== Object && text(maker.name)) || "Error";
}

function messageOf(thrown: object): string {
  if (thrown instanceof StepFailedError && thrown.kind === "step") return text(`step '${thrown.stepName}' failed: ${thrown.message}`);
  const message = read(thrown, "message");
  if (typeof message === "string") return text(thrown instanceof AggregateError ? `${message}${membersOf(thrown)}` : message);
  try {
    return text(JSON.stringify(thrown));
  } catch {
    return "";
  }
}

/** What Promise.any's several errors say, one level deep: an error may hold itself. */
function membersOf(thrown: AggregateError): string {
  const errors = read(thrown, "errors");
  let shown = "";
  for (const each of Array.isArray(errors) ? errors : []) {
    if (shown.length > MAX_TEXT) break; // there may be thousands
    shown += (shown === "" ? ": " : "; ") + memberOf(each);
  }
  return shown;
}

function memberOf(thrown: unknown): string {
  try {
    return text(read(Object(thrown), "message") ?? thrown);
  } catch {
    return "what cannot be shown"; // an object without a prototype
  }
}

/** What the author hung on the error as `data`, unless it is no JSON or too much: it must not hide the error itself. */
function dataOf(thrown: object): Json | undefined {
  try {
    const data = read(thrown, "data");
    if (data === undefined) return undefined;
    const copied = toJson(data);
    return JSON.stringify(copied).length <= MAX_DATA ? copied : undefined;
  } catch {
    return undefined;
  }
}

function text(value: unknown): string {
  return String(value).slice(0, MAX_TEXT).toWellFormed();
}
