/**
 * Replay (PROTOCOL.md section 8): which record is handed to which call of a helper. Pure: no time, no waiting.
 *
 * A call gets its key when it is made. Records that took a position are handed out in recorded order, one at a time; who drives
 * this lets the code run on in between until every branch waits again. What is asked for and not handed out stays parked.
 */
import { StepFailedError } from "./errors.js";
import { Keys } from "./keys.js";
import type { Diverged, StepRecord, TurnRequest } from "./messages.js";
import type { StepBody, StepOptions } from "./workflow.js";

/** What the code asked for. */
export type Wanted =
  | { kind: "step"; name: string; body: StepBody<unknown>; options: StepOptions }
  | { kind: "sleep"; name: string | null; duration: string }
  | { kind: "event"; name: string; timeout: string | null };

/** A call of a helper that has not been answered yet. */
export type Call<Kind extends Wanted["kind"] = Wanted["kind"]> = Extract<Wanted, { kind: Kind }> & { key: string };

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
const THE_END = "the end of the workflow";

export class Replay {
  readonly #keys = new Keys();
  readonly #asked = new Map<string, Asked>();
  readonly #failures = new Map<string, Failures>();
  readonly #records: (StepRecord & { position: number })[] = [];
  #handedOut = 0;

  constructor(request: TurnRequest) {
    for (const record of request.completed_steps) {
      if (record.status === "failed") {
        const count = this.failures(record.key).count + 1;
        this.#failures.set(record.key, { count, lastError: record.error ?? null });
      }
      const { position } = record;
      if (position !== null) this.#records.push({ ...record, position });
    }
  }

  /** Takes a call's key and parks the call. */
  ask(wanted: Wanted): Promise<unknown> {
    const key = this.#keys.take(keyBase(wanted));
    const answer = new Promise<unknown>((resolve, reject) => {
      this.#asked.set(key, { call: { ...wanted, key }, resolve, reject });
    });
    // A branch may come to await this later than it fails; that must not count as unhandled and end the process.
    answer.catch(() => undefined);
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
    if (asked === undefined) return this.#diverged(record, this.#firstAsked()?.key ?? THE_END);
    if (!isOfKind(record, asked.call)) {
      return this.#diverged(record, `${asked.call.key} (a ${asked.call.kind})`, `${record.key} (a ${record.kind})`);
    }
    this.#asked.delete(record.key);
    this.#handedOut += 1;
    if (record.status === "failed") {
      asked.reject(new StepFailedError(record.name, record.key, record.error ?? "Unknown error", this.failures(record.key).count));
    } else {
      asked.resolve(record.output ?? null);
    }
    return record;
  }

  /**
   * Once the function has ended, records that it asked for and did not wait for are ignored; others should not be there.
   * `how` says how it ended when it did not return.
   */
  divergenceAtEnd(how: string): Diverged | null {
    const record = this.#records.slice(this.#handedOut).find(({ key }) => !this.#asked.has(key));
    return record === undefined ? null : this.#diverged(record, THE_END + how);
  }

  /** What to do when all records are handed out: the first step called, or else the first suspension. */
  nextCall(): Call | null {
    const calls = [...this.#asked.values()].map(({ call }) => call);
    return calls.find(({ kind }) => kind === "step") ?? calls[0] ?? null;
  }

  #firstAsked(): Call | undefined {
    return this.#asked.values().next().value?.call;
  }

  #diverged(record: { key: string; position: number }, got: string, expected = record.key): Diverged {
    return { action: "diverged", position: record.position, expected, got };
  }
}

function keyBase(wanted: Wanted): string {
  if (wanted.kind === "event") return `event:${wanted.name}`;
  if (wanted.kind === "sleep") return wanted.name === null ? "sleep" : `sleep:${wanted.name}`;
  return wanted.name;
}

/** A step named "sleep" and a sleep without a name share a key; a step's record may name a kind of its own ("http"). */
function isOfKind(record: StepRecord, call: Call): boolean {
  const other = ["sleep", "event", "approval", "child", "parallel", "map"].includes(record.kind);
  return call.kind === "step" ? !other : record.kind === call.kind;
}
