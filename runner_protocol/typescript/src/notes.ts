/**
 * Notes: what an author puts down beside a record (variables, usage, progress, log lines), carried by the next action.
 *
 * Those that the workflow's function makes are counted from 1 in each run. The engine says how many are applied (`noted`): a
 * replay makes them all again, and only those beyond that number go out. Those of a step's body go with that step's own action.
 */
import { NonRetryableError } from "./errors.js";
import { type Json, toJson } from "./json.js";
import { checkName } from "./keys.js";
import type { Carried, LogLevel, LogLine, Progress } from "./messages.js";
import { type Spent, UsageSum } from "./usage.js";

const MAX_LOG_LINES = 100;
const MAX_TEXT = 2000;
const MAX_VARS_BYTES = 256 * 1024;

let clock = 0;

/** Notes that go out together. */
export class NoteBook {
  /** Undefined stands for a variable that is removed. */
  readonly #vars = new Map<string, Json | undefined>();
  readonly #logs: LogLine[] = [];
  #usage: UsageSum | null = null;
  #progress: { madeAt: number; progress: Progress } | null = null;

  set(values: Iterable<readonly [string, Json | undefined]>): void {
    for (const [name, value] of values) this.#vars.set(name, value);
  }

  usage(spent: Spent): void {
    const usage = this.#usage ?? new UsageSum();
    usage.add(spent);
    this.#usage = usage;
  }

  progress(progress: Progress): void {
    this.#progress = { madeAt: clock++, progress };
  }

  log(line: LogLine): void {
    if (this.#logs.length < MAX_LOG_LINES) this.#logs.push(line);
  }

  /** Takes the notes of another in; of two progresses the one made later counts. */
  add(other: NoteBook): void {
    for (const [name, value] of other.#vars) this.#vars.set(name, value);
    for (const line of other.#logs) this.log(line);
    if (other.#usage !== null) (this.#usage ??= new UsageSum()).addAll(other.#usage);
    if (other.#progress !== null && (this.#progress?.madeAt ?? -1) < other.#progress.madeAt) this.#progress = other.#progress;
  }

  /** As an action carries them. */
  written(): Carried {
    const entries = [...this.#vars];
    const set = entries.filter((entry): entry is [string, Json] => entry[1] !== undefined);
    const unset = entries.filter(([, value]) => value === undefined).map(([name]) => name);
    return {
      ...(set.length === 0 ? {} : { vars: Object.fromEntries(set) }),
      ...(unset.length === 0 ? {} : { unset }),
      ...(this.#usage === null ? {} : { usage: this.#usage.written() }),
      ...(this.#progress === null ? {} : { progress: this.#progress.progress }),
      ...(this.#logs.length === 0 ? {} : { logs: this.#logs.toSorted((one, other) => Number(one.at > other.at) - Number(one.at < other.at)) }),
    };
  }
}

/** The notes of one run's function; variables are applied here at once, whether the engine has them or not. */
export class RunNotes {
  readonly #vars: Map<string, { value: Json; bytes: number }>;
  #bytes: number;
  #view: Readonly<Record<string, any>> | null = null;
  #made = 0;
  #sent: number;
  #unsent = new NoteBook();

  constructor(vars: Record<string, unknown>, noted: number) {
    this.#vars = new Map(Object.entries(vars).map(([name, value]) => [name, entry(name, value as Json)]));
    this.#bytes = [...this.#vars.values()].reduce((sum, { bytes }) => sum + bytes, 1);
    this.#sent = noted;
  }

  get vars(): Readonly<Record<string, any>> {
    this.#view ??= Object.freeze(Object.fromEntries([...this.#vars].map(([name, { value }]) => [name, value])));
    return this.#view;
  }

  note(write: (book: NoteBook) => void): void {
    // Refused before it is counted: a replay is refused the same.
    write(this.#made < this.#sent ? new NoteBook() : this.#unsent);
    this.#made += 1;
  }

  /** One note for all of them. Throws NameError, JsonError, or NonRetryableError when they become too large, and sets none then. */
  set(values: Record<string, unknown>): void {
    const added = Object.entries(values).map(([name, value]) => {
      checkVariable(name);
      return [name, entry(name, toJson(value, `the variable '${name}'`))] as const;
    });
    const bytes = added.reduce((sum, [name, { bytes }]) => sum + bytes - (this.#vars.get(name)?.bytes ?? 0), this.#bytes);
    if (bytes > MAX_VARS_BYTES) {
      const names = added.map(([name]) => `'${name}'`).join(", ");
      throw new NonRetryableError(`with ${names} the variables take ${bytes} bytes, and an instance has at most ${MAX_VARS_BYTES}; keep the data elsewhere`);
    }
    this.note((book) => book.set(added.map(([name, { value }]) => [name, value])));
    for (const [name, one] of added) this.#vars.set(name, one);
    this.#bytes = bytes;
    this.#view = null;
  }

  unset(names: readonly string[]): void {
    names.forEach(checkVariable);
    this.note((book) => book.set(names.map((name) => [name, undefined])));
    for (const name of names) {
      this.#bytes -= this.#vars.get(name)?.bytes ?? 0;
      this.#vars.delete(name);
    }
    this.#view = null;
  }

  /** What the next action is to carry, together with the notes of the step that it is of. */
  take(own: NoteBook | null): Carried {
    if (this.#made <= this.#sent) return own?.written() ?? {};
    const book = this.#unsent;
    if (own !== null) book.add(own);
    this.#unsent = new NoteBook();
    this.#sent = this.#made;
    return { ...book.written(), noted: this.#made };
  }
}

/** Checks a progress as authors give it: percent from 0 to 100, or null, and a text for people. */
export function readProgress(percent: unknown, message: unknown): Progress {
  if (percent !== null && !(typeof percent === "number" && percent >= 0 && percent <= 100)) {
    throw new RangeError(`progress: percent must be a number from 0 to 100, or null, not ${String(percent).slice(0, 60)}`);
  }
  return { ...(percent === null ? {} : { percent }), ...(message === undefined ? {} : { message: text(message) }) };
}

/** Lines for people: at most 100 go with an action, of 2,000 characters each. */
export type Log = { readonly [Level in LogLevel]: (message: string) => void };

export function makeLog(add: (line: LogLine) => void): Log {
  const at = (level: LogLevel) => (message: string) => add({ at: new Date().toISOString(), level, message: text(message) });
  return { debug: at("debug"), info: at("info"), warning: at("warning"), error: at("error") };
}

function entry(name: string, value: Json): { value: Json; bytes: number } {
  // Frozen, because a change of it would be lost: only `set` is recorded.
  return { value: freeze(value), bytes: sizeOf(name) + sizeOf(value) + 2 };
}

function freeze(value: Json): Json {
  if (typeof value !== "object" || value === null) return value;
  for (const inner of Object.values(value)) freeze(inner);
  return Object.freeze(value) as Json;
}

function sizeOf(value: Json): number {
  return new TextEncoder().encode(JSON.stringify(value)).length;
}

function checkVariable(name: unknown): void {
  checkName("variable", name, { isKeyed: false });
}

function text(value: unknown): string {
  return String(value).slice(0, MAX_TEXT).toWellFormed();
}
