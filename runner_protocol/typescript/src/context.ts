/** What a workflow sees of its instance. All of it is as it was at the last record handed out, so that each replay sees the same. */
import type { Wanted } from "./calls.js";
import { NoHooksError, NonRetryableError } from "./errors.js";
import { makeHelpers, type WorkflowHelpers } from "./helpers.js";
import { type Json, toJson } from "./json.js";
import { hookUrl } from "./hooks.js";
import type { StepRecord, TurnRequest } from "./messages.js";
import { type Log, makeLog, type NoteBook, readProgress, type RunNotes } from "./notes.js";
import { Random } from "./random.js";
import type { Replay } from "./replay.js";
import type { Spent } from "./usage.js";

export interface WorkflowContext<Input = any> extends WorkflowHelpers {
  readonly workflowId: string;
  readonly workflowName: string;
  /** `workflowId` under the name that pylon's runner gives it. */
  readonly id: string;
  /** `workflowName` under the name that pylon's runner gives it. */
  readonly name: string;
  readonly input: Input;
  /** The version that this run started with. */
  readonly workflowVersion: string | null;
  /** The number of this run: 1 until the first `continueAsNew`. */
  readonly run: number;
  /** `run` under the name that it had in the first release. */
  readonly runNumber: number;
  readonly startedAt: Date;
  /** Who started this instance as a child. */
  readonly parent: { readonly workflowId: string; readonly key: string | null } | null;
  /** How many records have been handed out. */
  readonly currentStep: number;
  /** The records handed out. */
  readonly completedSteps: readonly StepRecord[];
  /** How long this run has become: the records handed out, and the bytes of their outputs as JSON. A reason to `continueAsNew`. */
  readonly history: { readonly steps: number; readonly bytes: number };
  /** The durable variables; change them with `set` and `unset`. */
  readonly vars: Readonly<Record<string, any>>;
  /** That of the step whose body is running; called elsewhere it throws. */
  readonly idempotencyKey: string;
  /**
   * A URL that nobody can guess, the same in every replay of this run: a POST to it is the event `hook:<name>`. Hand it out, in a
   * step too, before the workflow comes to `waitForHook(name)`: a call that comes early is kept. While
   * the engine does not know under which URL it is reached (its `hooks_url`) it throws, and the turn is put off, whatever the code
   * makes of that; the instance goes on once the engine does.
   */
  hookUrl(name: string): string;
  /** The time, in place of Date.now(): when the last record handed out was completed. */
  now(): Date;
  /** In place of Math.random(). */
  random(): number;
  /** In place of crypto.randomUUID(). */
  uuid(): string;
  /** Sets durable variables, which people see and a next run begins with. */
  set(name: string, value: unknown): void;
  set(values: Record<string, unknown>): void;
  /** Removes durable variables. */
  unset(...names: string[]): void;
  /** Adds to what the instance has cost. */
  usage(spent: Spent): void;
  /** Says how far the instance has come: percent from 0 to 100 or null, and a text for people. */
  progress(percent: number | null, message?: string): void;
  /** Writes lines into the instance's history: `ctx.log.info("charged")`. */
  readonly log: Log;
  /** Ends this run and begins the next with this input: same instance, no records. What is not done yet is dropped but for steps. */
  continueAsNew(input?: unknown): Promise<never>;
}

/** A step whose body is running, as its notes and its random numbers need it. */
export interface RunningStep {
  readonly name: string;
  readonly idempotencyKey: string;
  readonly notes: NoteBook;
  readonly random: Random;
}

/** What the context asks of the turn it belongs to. */
export interface Calls {
  ask(wanted: Wanted): Promise<unknown>;
  /** Parks the caller for ever; the run ends when no step is left. */
  continueAsNew(input: Json): Promise<never>;
  /** The step from whose body the present code was called. */
  runningStep(): RunningStep | null;
  /** Whether the code may do something now that each replay will do too. */
  mayMove(): boolean;
  /** Lets the turn come to nothing, whatever the code does now; the engine asks again. */
  putOff(why: NoHooksError): void;
  refuse(call: string, step: RunningStep): never;
  readonly notes: RunNotes;
  readonly replay: Pick<Replay, "handedOut" | "handedOutCount" | "isRecorded">;
}

class Context {
  readonly workflowId: string;
  readonly workflowName: string;
  readonly id: string;
  readonly name: string;
  readonly input: any;
  readonly workflowVersion: string | null;
  readonly run: number;
  readonly runNumber: number;
  readonly startedAt: Date;
  readonly parent: WorkflowContext["parent"];
  readonly hookUrl: (name: string) => string;
  readonly #calls: Calls;
  readonly #random: Random;
  #now: number;
  #history = { steps: 0, bytes: 0 };

  constructor(request: TurnRequest, calls: Calls) {
    this.workflowId = this.id = request.workflow_id;
    this.workflowName = this.name = request.workflow_name;
    this.input = request.input;
    this.workflowVersion = request.workflow_version;
    this.run = this.runNumber = request.run;
    this.startedAt = new Date(request.started_at);
    this.parent = request.parent && { workflowId: request.parent.workflow_id, key: request.parent.key };
    this.hookUrl = (name) => {
      try {
        return hookUrl(request, name);
      } catch (thrown) {
        if (thrown instanceof NoHooksError && calls.runningStep() === null) calls.putOff(thrown);
        throw thrown;
      }
    };
    this.#calls = calls;
    this.#random = new Random(request.seed);
    this.#now = this.startedAt.getTime();
  }

  /** Goes on to what the workflow saw after this record. */
  advance({ status, completed_at }: StepRecord): void {
    // Of a skipped step the engine keeps the time: the turn that skipped it has not seen it, so no replay may.
    if (completed_at !== undefined && status !== "skipped") this.#now = Date.parse(completed_at);
    this.#random.restart();
  }

  get currentStep(): number {
    return this.#calls.replay.handedOutCount;
  }

  get completedSteps(): readonly StepRecord[] {
    return this.#calls.replay.handedOut;
  }

  get history(): { readonly steps: number; readonly bytes: number } {
    const { steps, bytes } = this.#history;
    const added = this.#calls.replay.handedOut.slice(steps);
    const more = added.reduce((sum, { output }) => sum + new TextEncoder().encode(JSON.stringify(output ?? null)).length, 0);
    this.#history = { steps: steps + added.length, bytes: bytes + more };
    return { ...this.#history };
  }

  get vars(): Readonly<Record<string, any>> {
    return this.#calls.notes.vars;
  }

  get idempotencyKey(): string {
    const step = this.#calls.runningStep();
    if (step === null) throw new TypeError("ctx.idempotencyKey answers only inside a step's body; elsewhere there is no step");
    return step.idempotencyKey;
  }

  readonly now = (): Date => new Date(this.#now);
  readonly random = (): number => this.#chance().number();
  readonly uuid = (): string => this.#chance().uuid();

  readonly set = (...given: [name: string, value: unknown] | [values: Record<string, unknown>]): void => {
    this.#notInStep("set");
    const [first, value] = given;
    if (this.#calls.mayMove()) this.#calls.notes.set(typeof first === "string" ? { [first]: value } : first);
  };

  readonly unset = (...names: string[]): void => {
    this.#notInStep("unset");
    if (this.#calls.mayMove()) this.#calls.notes.unset(names);
  };

  readonly usage = (spent: Spent): void => this.#note((book) => book.usage(spent));

  readonly progress = (percent: number | null, message?: string): void => {
    const progress = readProgress(percent, message);
    this.#note((book) => book.progress(progress));
  };

  readonly log = makeLog((line) => this.#note((book) => book.log(line)));

  readonly continueAsNew = (input: unknown = null): Promise<never> => {
    const step = this.#calls.runningStep();
    if (step !== null) this.#calls.refuse("continueAsNew", step);
    return this.#calls.continueAsNew(toJson(input, "the input of the next run"));
  };

  #note(write: (book: NoteBook) => void): void {
    const step = this.#calls.runningStep();
    if (step !== null) write(step.notes);
    else if (this.#calls.mayMove()) this.#calls.notes.note(write);
  }

  #notInStep(what: "set" | "unset"): void {
    const step = this.#calls.runningStep();
    if (step !== null) throw new NonRetryableError(`ctx.${what} in the step '${step.name}': return the value, and ${what} it in the workflow's function`);
  }

  /** What a body draws must not move what the function draws next: no replay runs the body again. */
  #chance(): Random {
    return this.#calls.runningStep()?.random ?? this.#random;
  }
}

/** The context of a turn, with the helpers on it, and what goes on to what the workflow saw after a record. */
export function makeContext(request: TurnRequest, calls: Calls): { context: WorkflowContext; helpers: WorkflowHelpers; advance(record: StepRecord): void } {
  const facts = new Context(request, calls);
  const helpers = makeHelpers({ ask: (wanted) => calls.ask(wanted), isRecorded: (name) => calls.replay.isRecorded(name) });
  return { context: Object.assign(facts, helpers), helpers, advance: (record) => facts.advance(record) };
}
