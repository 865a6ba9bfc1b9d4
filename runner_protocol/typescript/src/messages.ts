/** The messages of the step protocol as the wire names them (PROTOCOL.md sections 1 and 2). */
import type { ErrorDetail } from "./errors.js";

export const RECORD_STATUSES = ["completed", "failed", "skipped"] as const;

/** One entry of `completed_steps`: a step, a failed attempt, a sleep or a received event. */
export interface StepRecord {
  step_id?: string;
  name: string;
  status: (typeof RECORD_STATUSES)[number];
  output?: unknown;
  error?: string | null;
  started_at?: string;
  completed_at?: string;
  duration_ms?: number;
  retry_count?: number;
  key: string;
  kind: string;
  /** Null for a failure that is retried: nothing is handed out for it. */
  position: number | null;
  final: boolean;
  timed_out?: boolean;
}

/** The question of one turn. Fields of version 2 have their default here when a version-1 engine asks. */
export interface TurnRequest {
  workflow_id: string;
  workflow_name: string;
  input: unknown;
  current_step: number;
  completed_steps: StepRecord[];
  run: number;
  workflow_version: string | null;
  started_at: string;
  seed: string;
  /** How often an attempt may be made, all in all; null when the engine did not say. */
  max_attempts: number | null;
}

export interface StepComplete {
  action: "step_complete";
  step_name: string;
  key: string;
  output: unknown;
  started_at: string;
  completed_at: string;
  duration_ms: number;
}

export interface Sleep {
  action: "sleep";
  duration: string;
  name?: string;
  key: string;
}

export interface WaitEvent {
  action: "wait_event";
  event: string;
  key: string;
  timeout?: string;
}

export interface Complete {
  action: "complete";
  output: unknown;
}

/** Without `step_name` and `key` it was the workflow's own code that failed. */
export interface Fail {
  action: "fail";
  step_name?: string;
  key?: string;
  error: ErrorDetail;
  retryable?: false;
  retry_after?: string;
  max_retries?: number;
  on_exhausted?: "throw";
  started_at?: string;
  completed_at?: string;
  duration_ms?: number;
}

export interface Defer {
  action: "defer";
  retry_after: string;
  reason: string;
}

export interface Diverged {
  action: "diverged";
  position: number;
  expected: string;
  got: string;
}

/** What a runner answers. */
export type Action = StepComplete | Sleep | WaitEvent | Complete | Fail | Defer | Diverged;
