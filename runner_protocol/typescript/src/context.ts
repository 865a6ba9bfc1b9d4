/** What a workflow sees of its instance. All of it is as it was at the last record handed out, so that each replay sees the same. */
import { wireDuration } from "./durations.js";
import { checkName } from "./keys.js";
import type { StepRecord, TurnRequest } from "./messages.js";
import { Random } from "./random.js";
import type { Wanted } from "./replay.js";
import type { StepOptions, WorkflowHelpers } from "./workflow.js";

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
  /** 1 until the first `continue_as_new`. */
  readonly runNumber: number;
  readonly startedAt: Date;
  /** How many records have been handed out. */
  readonly currentStep: number;
  /** The records handed out. */
  readonly completedSteps: readonly StepRecord[];
  /** The time, in place of Date.now(): when the last record handed out was completed. */
  now(): Date;
  /** In place of Math.random(). */
  random(): number;
  /** In place of crypto.randomUUID(). */
  uuid(): string;
}

/** What the context asks of the turn it belongs to. */
export interface Turn {
  ask(wanted: Wanted): Promise<unknown>;
  readonly handedOut: readonly StepRecord[];
  readonly handedOutCount: number;
}

const MAX_RETRIES = 1_000_000;

export class Context implements WorkflowContext {
  readonly workflowId: string;
  readonly workflowName: string;
  readonly id: string;
  readonly name: string;
  readonly input: any;
  readonly workflowVersion: string | null;
  readonly runNumber: number;
  readonly startedAt: Date;
  readonly #turn: Turn;
  readonly #random: Random;
  #now: number;

  constructor(request: TurnRequest, turn: Turn) {
    this.workflowId = this.id = request.workflow_id;
    this.workflowName = this.name = request.workflow_name;
    this.input = request.input;
    this.workflowVersion = request.workflow_version;
    this.runNumber = request.run;
    this.startedAt = new Date(request.started_at);
    this.#turn = turn;
    this.#random = new Random(request.seed);
    this.#now = this.startedAt.getTime();
  }

  /** Goes on to what the workflow saw after this record. */
  advance(record: StepRecord): void {
    if (record.completed_at !== undefined) this.#now = Date.parse(record.completed_at);
    this.#random.restart();
  }

  get currentStep(): number {
    return this.#turn.handedOutCount;
  }

  get completedSteps(): readonly StepRecord[] {
    return this.#turn.handedOut;
  }

  // The helpers are fields, so that `const { step } = ctx` works.
  readonly step: WorkflowHelpers["step"] = (name, body, options = {}) => {
    checkName("step", name);
    if (typeof body !== "function") throw new TypeError(`the step '${name}' needs a function`);
    checkOptions(name, options);
    return this.#turn.ask({ kind: "step", name, body, options }) as ReturnType<typeof body> & Promise<any>;
  };

  readonly sleep: WorkflowHelpers["sleep"] = (duration, options = {}) => {
    const { name = null } = options;
    if (name !== null) checkName("sleep", name);
    return this.#turn.ask({ kind: "sleep", name, duration: wireDuration(duration) }).then(() => undefined);
  };

  readonly waitForEvent = (event: string, options: { timeout?: string | number | undefined } = {}): Promise<any> => {
    checkName("event", event);
    const timeout = options.timeout === undefined ? null : wireDuration(options.timeout);
    return this.#turn.ask({ kind: "event", name: event, timeout });
  };

  readonly now = (): Date => new Date(this.#now);
  readonly random = (): number => this.#random.number();
  readonly uuid = (): string => this.#random.uuid();
}

function checkOptions(name: string, { retries }: StepOptions): void {
  if (retries !== undefined && !(Number.isInteger(retries) && retries >= 0 && retries <= MAX_RETRIES)) {
    throw new RangeError(`the step '${name}': retries must be a whole number from 0 to ${MAX_RETRIES}, not ${retries}`);
  }
}
