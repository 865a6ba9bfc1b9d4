/** Actions as JSON texts, none larger than the engine takes. */
import type { Action, Carried, Fail } from "./messages.js";

/** An action and its text: what goes out is written once, before the code may change what it was given. */
export interface Line {
  action: Action;
  text: string;
}

/** What the engine reads (PROTOCOL.md section 2). */
const MAX_LINE_BYTES = 4 * 1024 * 1024;

/**
 * Writes an action with what it carries; one that is too large becomes a failure that says so. A failure for which there is no room
 * leaves out what the operation was given.
 */
export function writeLine(action: Action, carried: Carried = {}): Line {
  const whole = { ...action, ...carried };
  const text = JSON.stringify(whole);
  // A code unit takes three bytes at most: only a long text has to be measured.
  if (text.length * 3 <= MAX_LINE_BYTES) return { action: whole, text };
  const size = new TextEncoder().encode(text).length;
  if (size <= MAX_LINE_BYTES) return { action: whole, text };
  if (action.action === "fail" && action.input !== undefined) {
    const { input: _, ...fail } = action;
    return writeLine(fail, carried);
  }
  const fail = tooLarge(action, size);
  if (fail.input !== undefined) return writeLine(fail, carried);
  const told = { ...fail, ...carried };
  return { action: told, text: JSON.stringify(told) };
}

function tooLarge(action: Action, size: number): Fail {
  const message = `the answer has ${size} bytes, and the engine takes ${MAX_LINE_BYTES}; store the data elsewhere and return where it is`;
  const fail: Fail = { action: "fail", error: { type: "ResultTooLargeError", message }, retryable: false };
  if (action.action !== "step_complete") return fail;
  const { step_name, key, after, kind, input } = action;
  const recordedAs = { ...(kind === undefined ? {} : { kind }), ...(input === undefined ? {} : { input }) };
  return { ...fail, step_name, key, ...(after === undefined ? {} : { after }), ...recordedAs, on_exhausted: "throw" };
}
