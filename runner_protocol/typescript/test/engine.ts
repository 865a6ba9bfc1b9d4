/** A tiny engine: asks a runner turn by turn, keeps the records, until the instance ends or there is nothing to go on with. */
import assert from "node:assert/strict";
import type { Action, Fail, StepRecord, WorkflowDefinition, WorkflowFunction } from "../src/index.js";
import { createRunner, workflow } from "../src/index.js";

export const STARTED_AT = "2026-01-01T00:00:00.000Z";

export function time(seconds: number): string {
  return new Date(Date.parse(STARTED_AT) + seconds * 1000).toISOString();
}

export function request(more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    protocol: 2,
    mode: "advance",
    workflow_id: "wf_1",
    workflow_name: "order",
    input: {},
    current_step: 0,
    completed_steps: [],
    run: 1,
    workflow_version: null,
    started_at: STARTED_AT,
    now: STARTED_AT,
    attempt: { number: 1, max: 4, last_error: null },
    idempotency_key: "wf_1:1:0",
    deadline: time(3600),
    seed: "00112233445566778899aabbccddeeff",
    history: { steps: 0, bytes: 0 },
    ...more,
  };
}

/** A record as the engine sends it; what a test does not name is that of a completed step. */
export function record(key: string, more: Partial<StepRecord> = {}): StepRecord {
  const kind = /^(sleep|event)\b/.exec(key)?.[1] ?? "step";
  return {
    step_id: "step_0",
    name: key.replace(/#\d+$/, ""),
    status: "completed",
    output: null,
    error: null,
    started_at: STARTED_AT,
    completed_at: STARTED_AT,
    duration_ms: 0,
    retry_count: 0,
    key,
    kind,
    position: 0,
    final: false,
    ...more,
  };
}

/** Positions by the order in the list. */
export function records(...entries: StepRecord[]): Record<string, unknown> {
  let next = 0;
  const list = entries.map((entry, index) => ({
    ...entry,
    step_id: `step_${index}`,
    position: entry.position === null ? null : next++,
    completed_at: entry.completed_at === STARTED_AT ? time(index + 1) : entry.completed_at,
  }));
  return { completed_steps: list, current_step: next, now: list.findLast(({ position }) => position !== null)?.completed_at ?? STARTED_AT };
}

/** One turn of a workflow named "order". */
export function turn(fn: WorkflowFunction<any, unknown>, more: Record<string, unknown> = {}): Promise<Action> {
  return createRunner([workflow("order", fn)]).handleRequest(request(more));
}

export interface Story {
  input?: unknown;
  events?: Record<string, unknown[]>;
  maxRetries?: number;
  /** The copy of the kit to run it with: errors of two copies do not know each other. */
  kit?: { createRunner: typeof createRunner };
}

export interface Told {
  actions: Action[];
  records: StepRecord[];
  end: Action;
}

/** Drives an instance; an event that is not there times out. */
export async function drive(definition: WorkflowDefinition<any, any>, { input = {}, events = {}, maxRetries = 3, kit = { createRunner } }: Story = {}): Promise<Told> {
  const { handleRequest } = kit.createRunner([definition]);
  const kept: StepRecord[] = [];
  const actions: Action[] = [];
  const inbox = structuredClone(events);
  for (let turn = 0; turn < 2000; turn += 1) {
    const current = records(...kept);
    const asked = request({ workflow_name: definition.name, input, ...current, attempt: { number: 1, max: maxRetries + 1, last_error: null } });
    const action = await handleRequest(asked);
    assert.deepEqual(await handleAgain(asked, action, handleRequest), action.action);
    actions.push(action);
    switch (action.action) {
      case "step_complete":
        kept.push(record(action.key, { name: action.step_name, output: action.output, kind: action.kind ?? "step", input: action.input }));
        break;
      case "sleep":
        kept.push(record(action.key, { name: `sleep:${action.name ?? action.duration}`, kind: "sleep" }));
        break;
      case "wait_event": {
        const [data] = inbox[action.event]?.splice(0, 1) ?? [];
        kept.push(record(action.key, { name: `event:${action.event}`, kind: "event", output: data ?? null, timed_out: data === undefined }));
        break;
      }
      case "fail": {
        if (action.key === undefined) return { actions, records: kept, end: action };
        kept.push(failed(action, kept, maxRetries));
        break;
      }
      default:
        return { actions, records: kept, end: action };
    }
  }
  throw new Error("the workflow did not end in 2,000 turns");
}

/** Asking once more for what needs no body to run gives the same answer. */
async function handleAgain(asked: unknown, first: Action, handleRequest: (body: unknown) => Promise<Action>): Promise<string> {
  if (first.action === "step_complete" || first.action === "fail") return first.action;
  assert.deepEqual(await handleRequest(asked), first);
  return first.action;
}

function failed(action: Fail, kept: StepRecord[], maxRetries: number): StepRecord {
  const count = kept.filter(({ key }) => key === action.key).length + 1;
  const isFinal = action.retryable === false || count > (action.max_retries ?? maxRetries);
  assert.equal(action.on_exhausted, "throw");
  return record(action.key ?? "", {
    name: action.step_name ?? "",
    status: "failed",
    error: action.error.message,
    kind: action.kind ?? "step",
    input: action.input,
    position: isFinal ? 0 : null,
    final: isFinal,
    retry_count: count,
  });
}
