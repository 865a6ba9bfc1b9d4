/**
 * Replay (PROTOCOL.md section 8): which record is handed to which call of a helper. Pure: no time, no waiting.
 *
 * A call gets its key when it is made. Records that took a position are handed out in recorded order, one at a time; who drives
 * this lets the code run on in between until every branch waits again. What is asked for and not handed out stays parked.
 */
import { type Call, fits, isWork, keyBase, type Wanted } from "./calls.js";
import { StepFailedError, TimedOutError } from "./errors.js";
import { Keys } from "./keys.js";
import type { Diverged, StepComplete, StepRecord, StepSkip, TurnRequest } from "./messages.js";

/** How often a step has failed in this run, and of what. */
export interface Failures {
  count: number;
  lastError: string | null;
}

interface Asked {
  call: Call;
  resolve(output: unknown): void;
  reject(error: StepFailedError): void;
}

const NO_FAILURES: Failures = { count: 0, lastError: null };
export const THE_END = "the end of the workflow";

export class Replay {
  readonly #keys = new Keys();
  readonly #asked = new Map<string, Asked>();
  readonly #failures = new Map<string, Failures>();
  readonly #records: (StepRecord & { position: number })[] = [];
  readonly #recorded = new Set<string>();
  readonly #member: TurnRequest["member"];
  /** Steps and skips in the order of their calls, until they are taken. */
  readonly #work: Call<"step" | "skip">[] = [];
  #handedOut = 0;

  constructor(request: TurnRequest) {
    this.#member = request.member;
    for (const record of request.completed_steps) {
      if (record.status === "failed") {
        const count = this.failures(record.key).count + 1;
        this.#failures.set(record.key, { count, lastError: record.error ?? null });
      }
      const { position } = record;
      if (position === null) continue;
      this.#records.push({ ...record, position });
      this.#recorded.add(record.key);
    }
  }

  /** Whether the engine has a record already for the next such call, or has asked for a member of it. */
  isRecorded(base: string): boolean {
    const key = this.#keys.firstFree(base);
    return this.#recorded.has(key) || this.#member?.group === key;
  }

  /** Takes a call's key and parks the call. */
  ask(wanted: Wanted): Promise<unknown> {
    const call: Call = { ...wanted, key: this.#keys.take(keyBase(wanted)), after: this.#handedOut };
    const answer = new Promise<unknown>((resolve, reject) => {
      this.#asked.set(call.key, { call, resolve, reject });
    });
    // A branch may come to await this later than it fails; that must not count as unhandled and end the process.
    answer.catch(() => undefined);
    if (isWork(call)) this.#work.push(call);
    return answer;
  }

  /** The records handed out so far. */
  get handedOut(): readonly StepRecord[] {
    return this.#records.slice(0, this.#handedOut);
  }

  get handedOutCount(): number {
    return this.#handedOut;
  }

  get isWaiting(): boolean {
    return this.#asked.size > 0;
  }

  failures(key: string): Failures {
    return this.#failures.get(key) ?? NO_FAILURES;
  }

  /** Hands out the next record, to be called when every branch waits: `null` when there is none left. */
  handOutNext(): StepRecord | Diverged | null {
    const record = this.#records[this.#handedOut];
    if (record === undefined) return null;
    const asked = this.#asked.get(record.key);
    if (asked === undefined) return this.#diverged(record, this.firstAsked()?.key ?? THE_END);
    if (!fits(record, asked.call)) {
      const kind = record.status === "skipped" ? "skip" : record.kind;
      return this.#diverged(record, `${asked.call.key} (a ${asked.call.kind})`, `${record.key} (a ${kind})`);
    }
    this.#handOut(record, asked);
    return record;
  }

  /** Hands out what this turn itself has recorded, after the last record; the record that it makes. */
  handOutLive(action: StepComplete | StepSkip): StepRecord {
    const asked = this.#asked.get(action.key);
    if (asked === undefined) throw new Error(`nobody has asked for '${action.key}'`);
    const record = asRecord(action, this.#handedOut);
    this.#records.push(record);
    this.#handOut(record, asked);
    return record;
  }

  #handOut(record: StepRecord, { call, resolve, reject }: Asked): void {
    this.#asked.delete(record.key);
    this.#handedOut += 1;
    if (record.status === "failed") reject(failedError(record, call, this.failures(record.key).count));
    else resolve(record.output ?? null);
  }

  /**
   * Once the function has ended, records that it asked for and did not wait for are ignored; others should not be there.
   * `how` says how it ended when it did not return.
   */
  divergenceAtEnd(how: string): Diverged | null {
    const record = this.#records.slice(this.#handedOut).find(({ key }) => !this.#asked.has(key));
    return record === undefined ? null : this.#diverged(record, THE_END + how);
  }

  /** The step or skip called first of those that nobody took yet. Ask only when all records are handed out. */
  takeWork(): Call<"step" | "skip"> | null {
    for (;;) {
      const call = this.#work.shift();
      if (call === undefined) return null;
      if (this.#asked.has(call.key)) return call;
    }
  }

  /** Whether `takeWork` has one. */
  get hasWork(): boolean {
    return this.#work.some(({ key }) => this.#asked.has(key));
  }

  /** The call of this key, as long as it is not answered. */
  call(key: string): Call | null {
    return this.#asked.get(key)?.call ?? null;
  }

  /** What the code waits for once it waits for no step: what was called first. */
  firstAsked(): Call | null {
    return this.#asked.values().next().value?.call ?? null;
  }

  #diverged(record: { key: string; position: number }, got: string, expected = record.key): Diverged {
    return { action: "diverged", position: record.position, expected, got };
  }
}

/** What the engine sends of it in the next turn. One literal: this is made for each step of a stream. */
function asRecord(action: StepComplete | StepSkip, position: number): StepRecord & { position: number } {
  const { step_name: name, key } = action;
  if (action.action === "step_skip") {
    return { name, key, kind: "step", status: "skipped", output: null, error: null, retry_count: 0, position, final: false, timed_out: false };
  }
  const { output, started_at, completed_at, duration_ms, kind = "step" } = action;
  return { name, key, kind, status: "completed", output, error: null, started_at, completed_at, duration_ms, retry_count: 0, position, final: false, timed_out: false };
}

function failedError(record: StepRecord, { kind, name }: Call, attempts: number): StepFailedError {
  const message = record.error ?? "Unknown error";
  const isLate = record.timed_out === true || kind === "event" || kind === "approval";
  return new (isLate ? TimedOutError : StepFailedError)(kind === "step" ? record.name : (name ?? ""), record.key, message, attempts, kind);
}
