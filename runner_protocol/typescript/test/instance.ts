/** An engine for one instance, with streams, groups, children and runs; its connection can be cut after any line. */
import assert from "node:assert/strict";
import { type Action, createRunner, type Fail, type StepRecord, workflow, type WorkflowFunction, type WorkflowRunner } from "../src/index.js";
import { UsageSum } from "../src/usage.js";
import { record, request, time } from "./engine.js";

/** What the world outside does. */
export interface World {
  input?: unknown;
  /** Taken one after the other; an event that is not there times out. */
  events?: Record<string, unknown[]>;
  decisions?: Record<string, boolean>;
  children?: Record<string, (input: any) => unknown>;
  maxRetries?: number;
  stream?: boolean;
}

/** What came of it. */
export interface Told {
  end: Action;
  /** How many lines were applied, members' answers too. */
  lines: number;
  turns: number;
  keys: string[];
  vars: Record<string, unknown>;
  usage: object;
  progress: unknown;
  logs: string[];
  actions: Action[];
}

/** Whether the connection breaks before a line is applied, `lines` having been applied in all and `taken` of this answer. */
type Cut = (lines: number, taken: number) => boolean;
type Fn = (began: (step: { key: string }) => void) => WorkflowFunction<any, unknown>;

class Instance {
  readonly #runner: WorkflowRunner;
  readonly #world: World;
  readonly #isCut: Cut;
  readonly #events: Record<string, unknown[]>;
  readonly actions: Action[] = [];
  readonly keys: string[] = [];
  readonly usage = new UsageSum();
  readonly logs: string[] = [];
  vars: Record<string, unknown> = {};
  progress: unknown = null;
  end: Action | null = null;
  lines = 0;
  turns = 0;
  #input: unknown;
  #run = 1;
  #runVars: Record<string, unknown> = {};
  #noted = 0;
  #records: StepRecord[] = [];
  #clock = 0;

  constructor(fn: Fn, world: World, isCut: Cut) {
    const began = ({ key }: { key: string }): void => {
      assert.ok(!this.#records.some((kept) => kept.key === key && kept.position !== null), `${key} is recorded and was run again`);
    };
    this.#runner = createRunner([workflow("order", fn(began))], { stream: world.stream ?? true });
    this.#world = world;
    this.#isCut = isCut;
    this.#events = structuredClone(world.events ?? {});
    this.#input = world.input ?? {};
  }

  async drive(): Promise<void> {
    while (this.end === null) {
      this.turns += 1;
      assert.ok(this.turns < 1000, "the instance does not end");
      let group: Extract<Action, { action: "parallel" | "map" }> | null = null;
      for await (const action of this.#lines({})) {
        assert.equal(group, null, "a line came after a suspension");
        if (action.action === "parallel" || action.action === "map") group = action;
        else this.#apply(action);
      }
      if (group !== null) await this.#runGroup(group);
    }
  }

  /** The lines of one answer, each counted as it is taken; the connection is cut where the test says so. */
  async *#lines(more: Record<string, unknown>): AsyncGenerator<Action> {
    const kept = this.#records.map((one, index) => ({ ...one, step_id: `step_${index}` }));
    const body = request({
      input: this.#input,
      completed_steps: kept,
      current_step: kept.filter(({ position }) => position !== null).length,
      attempt: { number: 1, max: (this.#world.maxRetries ?? 3) + 1, last_error: null },
      run: this.#run,
      vars: this.#runVars,
      noted: this.#noted,
      seed: `${"0".repeat(31)}${this.#run}`,
      ...more,
    });
    const asked = new Request("http://runner/run", { method: "POST", headers: { accept: "application/x-ndjson" }, body: JSON.stringify(body) });
    const response = await this.#runner.fetch(asked);
    assert.equal(response.status, 200);
    const decoder = new TextDecoder();
    let [text, taken] = ["", 0];
    // Left in the middle, the loop cancels the body: the runner is told that its caller has gone.
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      text += decoder.decode(chunk, { stream: true });
      const lines = text.split("\n");
      text = response.headers.get("content-type")?.startsWith("application/json") ? "" : (lines.pop() ?? "");
      for (const line of lines) {
        if (line === "") continue;
        const action = JSON.parse(line) as Action;
        if (action.action === "step_start") continue;
        if (this.#isCut(this.lines, taken)) return;
        this.lines += 1;
        taken += 1;
        this.actions.push(action);
        this.#applyNotes(action);
        yield action;
      }
    }
    assert.equal(text, "");
  }

  #applyNotes(action: Action): void {
    if (action.action === "defer" || action.action === "diverged" || action.action === "step_start") return;
    Object.assign(this.vars, action.vars);
    for (const name of action.unset ?? []) delete this.vars[name];
    const { cost_usd, input_tokens, output_tokens } = action.usage ?? {};
    this.usage.add({ costUsd: cost_usd, inputTokens: input_tokens, outputTokens: output_tokens });
    this.progress = action.progress ?? this.progress;
    this.logs.push(...(action.logs ?? []).map(({ message }) => message));
    if (action.noted !== undefined) {
      assert.ok(action.noted > this.#noted, "notes go out once");
      this.#noted = action.noted;
    }
  }

  #apply(action: Action): void {
    switch (action.action) {
      case "step_complete":
        return this.#keep(record(action.key, { name: action.step_name, output: action.output, kind: action.kind ?? "step", completed_at: action.completed_at }));
      case "step_skip":
        return this.#keep(record(action.key, { name: action.step_name, kind: "step", status: "skipped", completed_at: this.#tick() }));
      case "sleep":
        return this.#keep(record(action.key, { kind: "sleep", completed_at: this.#tick() }));
      case "wait_event": {
        const [data] = this.#events[action.event]?.splice(0, 1) ?? [];
        if (data === undefined && action.on_timeout === "fail") return this.#keepFailure(action.key, "event", `timed out waiting for event '${action.event}'`, true);
        return this.#keep(record(action.key, { kind: "event", output: data ?? null, timed_out: data === undefined, completed_at: this.#tick() }));
      }
      case "approval": {
        const approved = this.#world.decisions?.[action.name];
        if (approved === undefined && action.on_timeout === "fail") return this.#keepFailure(action.key, "approval", "timed out", true);
        const output = { approved: approved ?? false, by: null, comment: null, data: null, at: this.#tick(), timed_out: approved === undefined };
        return this.#keep(record(action.key, { kind: "approval", output, completed_at: output.at }));
      }
      case "start_child": {
        if (action.wait === false) return this.#keep(record(action.key, { kind: "child", output: { workflow_id: action.id ?? "wf_child" } }));
        try {
          return this.#keep(record(action.key, { kind: "child", output: this.#world.children?.[action.workflow]?.(action.input) ?? null }));
        } catch (error) {
          return this.#keepFailure(action.key, "child", `child '${action.name}' failed: ${(error as Error).message}`);
        }
      }
      case "continue_as_new":
        this.#run += 1;
        [this.#records, this.#noted, this.#input] = [[], 0, action.input];
        this.#runVars = structuredClone(this.vars);
        return;
      case "fail":
        if (action.key === undefined) {
          this.end = action;
          return;
        }
        return this.#fail(action);
      default:
        this.end = action;
    }
  }

  async #runGroup(group: Extract<Action, { action: "parallel" | "map" }>): Promise<void> {
    const members = group.action === "map" ? group.items.map((input, index) => ({ name: group.name, key: `${group.key}[${index}]`, input })) : group.members.map((member) => ({ ...member, key: `${group.key}/${member.name}` }));
    const outputs: unknown[] = [];
    const failures: string[] = [];
    for (const [index, member] of members.entries()) {
      for (let number = 1; ; ) {
        const answers: Action[] = [];
        const attempt = { number, max: (this.#world.maxRetries ?? 3) + 1, last_error: null };
        for await (const answer of this.#lines({ mode: "run_step", member: { ...member, group: group.key, index, total: members.length }, attempt })) answers.push(answer);
        const [answer] = answers;
        if (answer === undefined) continue;
        assert.ok("key" in answer && answer.key === member.key, JSON.stringify(answer));
        if (answer.action === "step_complete") outputs[index] = answer.output;
        else if (answer.action !== "fail") assert.fail(answer.action);
        else if (answer.retryable === false || number > (answer.max_retries ?? this.#world.maxRetries ?? 3)) failures.push(`${member.key}: ${answer.error.message}`);
        else {
          number += 1;
          continue;
        }
        break;
      }
    }
    if (failures.length > 0) return this.#keepFailure(group.key, group.action, failures.join("; "));
    const output = group.action === "map" ? outputs : Object.fromEntries(members.map(({ name }, index) => [name, outputs[index]]));
    this.#keep(record(group.key, { kind: group.action, output, completed_at: this.#tick() }));
  }

  #fail(action: Fail): void {
    const key = action.key ?? "";
    const count = this.#records.filter((kept) => kept.key === key).length + 1;
    const isFinal = action.retryable === false || count > (action.max_retries ?? this.#world.maxRetries ?? 3);
    const failed = record(key, { name: action.step_name ?? "", kind: action.kind ?? "step", input: action.input, status: "failed", error: action.error.message, retry_count: count, final: isFinal, completed_at: this.#tick() });
    if (isFinal) this.#keep(failed);
    else this.#records.push({ ...failed, position: null });
  }

  #keepFailure(key: string, kind: string, error: string, timedOut = false): void {
    this.#keep(record(key, { kind, status: "failed", error, final: true, timed_out: timedOut, completed_at: this.#tick() }));
  }

  #keep(kept: StepRecord): void {
    const positions = this.#records.filter(({ position }) => position !== null);
    assert.ok(!positions.some(({ key }) => key === kept.key), `${kept.key} is recorded twice`);
    this.#records.push({ ...kept, position: positions.length });
    this.keys.push(`${this.#run} ${kept.key} ${kept.status}`);
  }

  #tick(): string {
    this.#clock += 1;
    return time(this.#clock);
  }
}

/** Drives an instance to its end. */
export async function tell(fn: Fn, world: World = {}, isCut: Cut = () => false): Promise<Told> {
  const instance = new Instance(fn, world, isCut);
  await instance.drive();
  const { end, lines, turns, keys, vars, usage, progress, logs, actions } = instance;
  assert.ok(end !== null);
  return { end, lines, turns, keys: keys.toSorted(), vars, usage: usage.written(), progress, logs: logs.toSorted(), actions };
}
