/** The messages of the step protocol as the wire names them (PROTOCOL.md sections 1, 2, 5 and 6). */
import type { ErrorDetail } from "./errors.js";
import type { Json } from "./json.js";

export const PROTOCOL_VERSION = 2;
export const RECORD_STATUSES = ["completed", "failed", "skipped"] as const;

/** One entry of `completed_steps`: a step, a failed attempt, a sleep, a received event, a decision, a child, a group. */
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
  /** What an operation was given. */
  input?: unknown;
  /** The keys of the records that this one came after. */
  depends_on?: string[];
}

/** The member of a group that a `run_step` asks for. */
export interface MemberRequest {
  group: string;
  name: string;
  key: string;
  index: number;
  total: number;
  input: unknown;
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
  /** Which attempt this is of what is due; of a member, for whom no failed records are sent. */
  attempt: { number: number; last_error: string | null };
  /** How often an attempt may be made, all in all; null when the engine did not say. */
  max_attempts: number | null;
  /** The variables as they were when this run began. */
  vars: Record<string, unknown>;
  /** How many notes of this run are applied. */
  noted: number;
  parent: { workflow_id: string; key: string | null } | null;
  /** What the instance's hook URLs are made of; null when the engine gives out none. */
  hooks: { base_url: string; key: string } | null;
  /** Set when one member of a group is to be run, and nothing else. */
  member: MemberRequest | null;
}

export interface Usage {
  /** A decimal text, so that sums are exact. */
  cost_usd?: string;
  input_tokens?: number;
  output_tokens?: number;
}

export interface Progress {
  percent?: number;
  message?: string;
}

export type LogLevel = "debug" | "info" | "warning" | "error";

export interface LogLine {
  at: string;
  level: LogLevel;
  message: string;
}

/** What any action may carry beside; `noted` counts the run's notes that are applied once it is. */
export interface Carried {
  vars?: Record<string, Json>;
  unset?: string[];
  usage?: Usage;
  progress?: Progress;
  logs?: LogLine[];
  noted?: number;
}

/** `after` is how many positions had been handed to the code when it asked for this: what the record depends on. */
interface Recording extends Carried {
  key: string;
  after?: number;
}

export interface StepComplete extends Recording {
  action: "step_complete";
  step_name: string;
  output: unknown;
  kind?: string;
  input?: Json;
  started_at: string;
  completed_at: string;
  duration_ms: number;
}

/** This step has begun and may take this long; nothing is applied. */
export interface StepStart {
  action: "step_start";
  step_name: string;
  key: string;
  timeout: string;
}

export interface StepSkip extends Recording {
  action: "step_skip";
  step_name: string;
  reason: string;
}

export interface Sleep extends Recording {
  action: "sleep";
  duration?: string;
  until?: string;
  name?: string;
}

export interface WaitEvent extends Recording {
  action: "wait_event";
  event: string;
  timeout?: string;
  on_timeout?: "fail";
  match?: Record<string, Json>;
  correlation?: string;
}

export interface Approval extends Recording {
  action: "approval";
  name: string;
  message?: string;
  data?: Json;
  timeout?: string;
  on_timeout?: "fail";
}

interface Group extends Recording {
  name: string;
  fail_fast?: boolean;
  max_in_flight?: number;
}

export interface Parallel extends Group {
  action: "parallel";
  members: { name: string; input: Json }[];
}

export interface MapItems extends Group {
  action: "map";
  items: Json[];
}

export interface StartChild extends Recording {
  action: "start_child";
  name: string;
  workflow: string;
  input: Json;
  id?: string;
  wait?: false;
  on_parent_close?: "abandon";
}

export interface ContinueAsNew extends Carried {
  action: "continue_as_new";
  input: Json;
}

export interface Complete extends Carried {
  action: "complete";
  output: unknown;
}

/** Without `step_name` and `key` it was the workflow's own code that failed. */
export interface Fail extends Carried {
  action: "fail";
  step_name?: string;
  key?: string;
  after?: number;
  error: ErrorDetail;
  kind?: string;
  input?: Json;
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

export interface DescribedWorkflow {
  name: string;
  version: string | null;
  description: string | null;
  max_retries: number | null;
  step_timeout: string | null;
  input_schema: Record<string, Json> | null;
}

/** The answer to `mode: "describe"`. */
export interface Description {
  action: "description";
  protocol: typeof PROTOCOL_VERSION;
  workflows: DescribedWorkflow[];
  kit: string;
}

/** What ends or suspends a turn; `step_complete`, `step_skip`, `step_start` and the `fail` of a step may be followed by more. */
export type Suspension = Sleep | WaitEvent | Approval | Parallel | MapItems | StartChild | ContinueAsNew;

/** What a runner answers. */
export type Action = StepComplete | StepStart | StepSkip | Suspension | Complete | Fail | Defer | Diverged;
