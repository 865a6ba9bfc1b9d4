/** What authors may say about a step beside its body, and what a body is told. */
import { type Duration, parseDuration, wireDuration } from "./durations.js";
import type { Log } from "./notes.js";
import type { Spent } from "./usage.js";

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
  /** Aborted when the step has taken too long, or when the engine has gone and waits for it no longer. */
  readonly signal: AbortSignal;
  /** Adds to the instance's usage, with this step's result or failure. */
  usage(spent: Spent): void;
  /** Says how far the instance has come, with this step's result or failure. */
  progress(percent: number | null, message?: string): void;
  /** Writes lines into the instance's history, with this step's result or failure: `step.log.info("charged")`. */
  readonly log: Log;
}

/** What the body of a group's member is told. */
export interface MemberContext extends StepContext {
  readonly index: number;
  readonly total: number;
}

/** A step's body; what it returns must be JSON. */
export type StepBody<T> = (step: StepContext) => T | Promise<T>;

export interface StepOptions {
  /** How often a failed step is tried again, in place of the definition's `max_retries`. */
  retries?: number | undefined;
  /** The wait before another attempt, in place of the definition's: always the same, or by the failed attempt's number, from 1. */
  backoff?: Duration | ((attempt: number) => Duration) | undefined;
  /**
   * How long one attempt may take; after it the attempt has failed and its `signal` is aborted. Without streams, and for a group's
   * member, it can only shorten the definition's step timeout.
   */
  timeout?: Duration | undefined;
  /** Whether what was thrown is worth another attempt; false fails the step for good. */
  retryIf?: ((error: unknown) => boolean) | undefined;
}

/** Step options that were checked. */
export interface Policy {
  retries: number | null;
  timeout: { text: string; seconds: number } | null;
  /** How long to wait after failed attempt number `attempt`. */
  backoff: ((attempt: number) => Duration) | null;
  retryIf: ((error: unknown) => boolean) | null;
}

const MAX_RETRIES = 1_000_000;

/** Checks options at the call; `what` names the call in errors. Throws RangeError, TypeError, DurationError. */
export function readOptions(what: string, { retries, backoff, timeout, retryIf }: StepOptions): Policy {
  if (retries !== undefined && !(Number.isInteger(retries) && retries >= 0 && retries <= MAX_RETRIES)) {
    throw new RangeError(`${what}: retries must be a whole number from 0 to ${MAX_RETRIES}, not ${retries}`);
  }
  if (retryIf !== undefined && typeof retryIf !== "function") throw new TypeError(`${what}: retryIf must be a function of the error`);
  const limit = timeout === undefined ? null : { text: wireDuration(timeout), seconds: parseDuration(timeout) };
  if (limit?.seconds === 0) throw new RangeError(`${what}: timeout must be more than 0`);
  return { retries: retries ?? null, timeout: limit, backoff: backoff === undefined ? null : readBackoff(backoff), retryIf: retryIf ?? null };
}

function readBackoff(backoff: Duration | ((attempt: number) => Duration)): (attempt: number) => Duration {
  if (typeof backoff === "function") return backoff;
  const text = wireDuration(backoff);
  return () => text;
}
