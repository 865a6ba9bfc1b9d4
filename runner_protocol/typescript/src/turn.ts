/**
 * One turn: runs the workflow's function against its records and on from there, and gives the lines of the answer.
 *
 * The laws (PROTOCOL.md section 8):
 * 1. The code moves only when something is handed out to it: records first, then what this turn records, one at a time, each when
 *    every branch waits. A move in between (a timer of the author's) could not be repeated: the turn starts nothing more then.
 * 2. No step starts before all records are handed out, nor after the `fail` of another; those that run are waited for.
 * 3. Only when no step runs and none has failed is the instance suspended, by what was called first.
 * 4. A line is taken by the reader before what it records is handed out: who reads slowly slows the code down.
 * 5. Once the answer is known the function is abandoned: whatever it still asks for stays parked for ever.
 */
import { type Call, isWork, shown, type Wanted } from "./calls.js";
import { type Calls, makeContext, type RunningStep } from "./context.js";
import { type NoHooksError, NonRetryableError } from "./errors.js";
import { hop } from "./hop.js";
import { type Json, toJson } from "./json.js";
import { type Line, writeLine } from "./lines.js";
import { findMember } from "./members.js";
import type { Action, Complete, Defer, Diverged, Fail, StepSkip, TurnRequest } from "./messages.js";
import { type NoteBook, RunNotes } from "./notes.js";
import { Replay } from "./replay.js";
import { RunningSteps } from "./running.js";
import { type Attempt, failure, putOff, runningStep } from "./step.js";
import { suspension } from "./suspensions.js";
import type { WorkflowDefinition } from "./workflow.js";

/** When the caller has gone, and when the process wants to end and no new step is to start. */
export interface Signals {
  readonly gone: AbortSignal;
  readonly closing: AbortSignal;
}

const GONE: Defer = { action: "defer", retry_after: "1s", reason: "the caller has gone" };

export class Turn implements Calls {
  readonly notes: RunNotes;
  readonly replay: Replay;
  readonly #definition: WorkflowDefinition;
  readonly #request: TurnRequest;
  readonly #signals: Signals;
  readonly #made: ReturnType<typeof makeContext>;
  readonly #steps = new RunningSteps(this);
  #phase: "moving" | "waiting" | "over" = "moving";
  #isAstray = false;
  #hasFailed = false;
  #deferral: Defer | null = null;
  #end: Complete | Fail | null = null;
  #nextRun: { input: Json } | null = null;
  #wake = (): void => undefined;

  constructor(definition: WorkflowDefinition, request: TurnRequest, signals: Signals) {
    this.#definition = definition;
    this.#request = request;
    this.#signals = signals;
    this.replay = new Replay(request);
    this.notes = new RunNotes(request.vars, request.noted);
    this.#made = makeContext(request, this);
  }

  /** The whole answer. To be iterated once; when that is given up, the steps that run are told to stop. */
  async *lines(): AsyncGenerator<Line, void, void> {
    const close = this.#open();
    try {
      for (;;) {
        const last = await this.#handOutRecords();
        if (this.#isGone) return;
        if (last !== null) return yield* this.#close(last);
        yield* this.#startSteps();
        const finished = await this.#steps.next();
        if (this.#isGone) return;
        if (finished === null) {
          if (!this.#isStuck) yield this.#line(this.#suspension());
          return;
        }
        if (finished.action.action === "defer") return yield* this.#close(finished.action);
        const line = this.#line(finished.action, finished.notes);
        yield line;
        const { action } = line;
        if (this.#isAstray || (action.action !== "step_complete" && action.action !== "step_skip")) return void (yield* this.#finish());
        this.#made.advance(this.replay.handOutLive(action));
      }
    } finally {
      close();
    }
  }

  /** One action: the first of the steps that the code asks for, or what suspends or ends it. */
  async action(): Promise<Line> {
    const close = this.#open();
    try {
      const last = await this.#handOutRecords();
      if (this.#isGone) return writeLine(GONE);
      if (last !== null) return this.#line(last);
      this.#phase = "over";
      const work = this.replay.takeWork();
      if (work === null) return this.#line(this.#suspension());
      if (work.kind === "skip") return this.#line(skipped(work));
      const { action, notes } = await this.#run(this.#attempt(work));
      return this.#line(action, notes);
    } finally {
      close();
    }
  }

  /** The one member of a group that the request asks for. What the function notes is no business of this answer's. */
  async member(): Promise<Line> {
    const close = this.#open();
    try {
      const last = await this.#handOutRecords();
      if (this.#isGone) return writeLine(GONE);
      this.#phase = "over";
      if (last?.action === "diverged" || last?.action === "defer") return writeLine(last);
      const found = findMember(this.#request, this.replay);
      if ("action" in found) return writeLine(found);
      const { action, notes } = await this.#run(found);
      return writeLine(action, action.action === "defer" ? {} : notes?.written());
    } finally {
      close();
    }
  }

  ask(wanted: Wanted): Promise<unknown> {
    const step = runningStep(this);
    if (step !== null) this.refuse(shown(wanted), step);
    if (!this.mayMove()) return new Promise(() => undefined);
    const answer = this.replay.ask(wanted);
    this.#wake();
    return answer;
  }

  continueAsNew(input: Json): Promise<never> {
    if (this.mayMove()) {
      this.#nextRun ??= { input };
      this.#wake();
    }
    return new Promise(() => undefined);
  }

  runningStep(): RunningStep | null {
    return runningStep(this);
  }

  mayMove(): boolean {
    if (this.#phase === "waiting") {
      this.#isAstray = true;
      this.#wake();
    }
    return this.#phase === "moving";
  }

  putOff(why: NoHooksError): void {
    if (!this.mayMove()) return;
    [this.#deferral, this.#phase] = [putOff(why), "over"];
    this.#wake();
  }

  refuse(call: string, step: RunningStep): never {
    // Thrown, not rejected: a body that does not await the call must fail too.
    throw new NonRetryableError(`${call} was called inside the body of the step '${step.name}'; call helpers from the workflow's function only`);
  }

  get #isGone(): boolean {
    return this.#signals.gone.aborted;
  }

  /** Whether nothing may be begun any more, be it a step or a wait. */
  get #isStuck(): boolean {
    return this.#isAstray || (this.#signals.closing.aborted && this.replay.hasWork);
  }

  #open(): () => void {
    const { gone } = this.#signals;
    const onGone = (): void => {
      this.#steps.stop(gone.reason);
      this.#wake();
    };
    gone.addEventListener("abort", onGone);
    void this.#outcome().then((action) => {
      if (!this.mayMove()) return;
      this.#end = action;
      this.#wake();
    });
    return () => {
      this.#phase = "over";
      gone.removeEventListener("abort", onGone);
      this.#steps.stop();
    };
  }

  /** How the function ends; a promise that stays open for as long as the function is parked. */
  async #outcome(): Promise<Complete | Fail> {
    const { name, fn } = this.#definition;
    try {
      const output = await fn(this.#made.context, this.#made.helpers);
      return { action: "complete", output: toJson(output, `the result of the workflow '${name}'`) };
    } catch (thrown) {
      return failure(thrown);
    }
  }

  /** Lets the code run on through all records that are left; the last action when the function has ended or diverged. */
  async #handOutRecords(): Promise<Complete | Fail | Diverged | Defer | null> {
    for (;;) {
      await this.#settle();
      if (this.#isGone) return null;
      if (this.#deferral !== null) return this.#deferral;
      if (this.#end !== null) return this.#ending(this.#end);
      const next = this.replay.handOutNext();
      if (next === null) return null;
      if ("action" in next) return next;
      this.#made.advance(next);
    }
  }

  /** Until every branch waits: for a helper, or, when none is called, for the function's own promises. */
  async #settle(): Promise<void> {
    this.#phase = "moving";
    await hop();
    while (this.#end === null && this.#nextRun === null && this.#deferral === null && !this.replay.isWaiting && !this.#isGone) {
      await this.#stirred();
      await hop();
    }
    this.#phase = "waiting";
  }

  #stirred(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve));
  }

  #ending(end: Complete | Fail): Complete | Fail | Diverged | null {
    // Who returns without awaiting `continueAsNew` has called it all the same.
    if (this.#nextRun !== null && end.action === "complete") return null;
    return this.replay.divergenceAtEnd(end.action === "complete" ? "" : ` (it threw ${end.error.type}: ${end.error.message.slice(0, 200)})`) ?? end;
  }

  /** Starts all steps that the code waits for; a skip has finished as soon as it begins. */
  async *#startSteps(): AsyncGenerator<Line, void, void> {
    for (;;) {
      if (this.#isGone || this.#isAstray || this.#signals.closing.aborted) return;
      const work = this.replay.takeWork();
      if (work === null) return;
      if (work.kind === "skip") {
        this.#steps.add({ action: skipped(work), notes: null });
        continue;
      }
      const { name, key, policy } = work;
      if (policy.timeout !== null) yield writeLine({ action: "step_start", step_name: name, key, timeout: policy.timeout.text });
      if (this.#isGone) return;
      this.#steps.start(this.#attempt(work));
    }
  }

  /** Runs this step and no other; who has gone meanwhile is told so. */
  async #run(attempt: Attempt): Promise<{ action: Action; notes: NoteBook | null }> {
    this.#steps.start(attempt);
    return (await this.#steps.next()) ?? { action: GONE, notes: null };
  }

  /** The function's end, or a deferral. It may be run again, and what still runs is not to be done again: its lines go first. */
  async *#close(last: Complete | Fail | Diverged | Defer): AsyncGenerator<Line, void, void> {
    if ((last.action !== "fail" && last.action !== "defer") || (yield* this.#finish())) yield this.#line(last);
  }

  /** The lines of what still runs, when nothing new is to begin; false when one of them has failed, or nobody reads them. */
  async *#finish(): AsyncGenerator<Line, boolean, void> {
    this.#phase = "over";
    for (;;) {
      const finished = await this.#steps.next();
      if (this.#isGone) return false;
      if (finished === null) return !this.#hasFailed;
      if (finished.action.action !== "step_skip" && finished.action.action !== "defer") yield this.#line(finished.action, finished.notes);
    }
  }

  #suspension(): Action {
    if (this.#nextRun !== null) return { action: "continue_as_new", input: this.#nextRun.input };
    const call = this.replay.firstAsked();
    if (call === null || isWork(call)) throw new Error("a turn is suspended only when its workflow waits, and for no step");
    return suspension(call);
  }

  #attempt(call: Call<"step">): Attempt {
    const { name, key, after, body, policy, recordedAs } = call;
    const { workflow_id, run, max_attempts } = this.#request;
    const { count, lastError } = this.replay.failures(key);
    const idempotencyKey = `${workflow_id}:${run}:${key}`;
    return { name, key, after, body, policy, recordedAs, number: count + 1, maxAttempts: max_attempts, lastError, idempotencyKey, member: null };
  }

  /** An action with what has been noted, but for those that apply nothing. */
  #line(action: Action, notes: NoteBook | null = null): Line {
    const line = writeLine(action, action.action === "diverged" || action.action === "defer" ? {} : this.notes.take(notes));
    this.#hasFailed ||= line.action.action === "fail" && line.action.key !== undefined;
    return line;
  }
}

function skipped({ name, key, after, reason }: Call<"skip">): StepSkip {
  return { action: "step_skip", step_name: name, key, after, reason };
}
