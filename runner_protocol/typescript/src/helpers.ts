/** The durable operations that a workflow's function calls: each checks what it is given and asks the turn for it. */
import { isTaken, type MemberBody, type NamedMember, type RecordedAs, type Wanted } from "./calls.js";
import { type Duration, wireDuration } from "./durations.js";
import { type HttpOptions, type HttpResult, httpOperation } from "./http.js";
import { hookEvent } from "./hooks.js";
import { type Json, toJson } from "./json.js";
import { checkName } from "./keys.js";
import { type MemberContext, readOptions, type StepBody, type StepContext, type StepOptions } from "./options.js";
import type { ShellOptions, ShellResult } from "./shell.js";
import type { WorkflowDefinition } from "./workflow.js";

export interface SleepOptions {
  /** Gives the sleep a key of its own (`sleep:<name>`). */
  name?: string | undefined;
}

export interface WaitForEventOptions {
  /** How long to wait at most; after it the result is null, or with `onTimeout: "fail"` a TimedOutError. */
  timeout?: Duration | undefined;
  onTimeout?: "return" | "fail" | undefined;
  /** Takes only an event whose data has these values, by dotted paths: `{ "order.id": 7 }`. */
  match?: Record<string, unknown> | undefined;
  /** A second address for the event: who sends it need not know the instance's id. */
  correlation?: string | undefined;
}

export type WaitForHookOptions = Omit<WaitForEventOptions, "correlation">;

export interface ApprovalOptions {
  /** What the person who decides reads. */
  message?: string | undefined;
  data?: unknown;
  /** How long to wait at most; after it the decision is a rejection, or with `onTimeout: "fail"` a TimedOutError. */
  timeout?: Duration | undefined;
  onTimeout?: "reject" | "fail" | undefined;
}

/** What was decided; a rejection is a value, not a failure, and a decision that did not come in time is one. */
export interface Decision {
  approved: boolean;
  by: string | null;
  comment: string | null;
  data: any;
  at: Date | null;
  timedOut: boolean;
}

/** The step options are each member's. */
export interface GroupOptions extends StepOptions {
  /** Whether the first final failure of a member ends the group; true unless given. */
  failFast?: boolean | undefined;
  /** How many members run at a time; 10 unless given, at most 1,000. */
  maxInFlight?: number | undefined;
}

export interface ChildOptions {
  /** The record's key is `child:<name>`; the workflow's name unless given. */
  name?: string | undefined;
  /** The child's id; the engine chooses one that a repeated start finds again unless given. */
  id?: string | undefined;
  /** False goes on at once, with `{ workflow_id }`. */
  wait?: boolean | undefined;
  /** What becomes of the child when this instance ends before it; `cancel` unless given. */
  onParentClose?: "cancel" | "abandon" | undefined;
}

/** Work with a kind of its own: kind and input are recorded, `execute` runs as a step's body does. */
export interface Operation<T = unknown> {
  readonly kind: string;
  readonly input?: unknown;
  execute(step: StepContext): T | Promise<T>;
}

/** A parallel's member: a function, one with its input, or an operation. */
export type Member = ((member: MemberContext) => unknown) | readonly [body: (input: any, member: MemberContext) => unknown, input: unknown] | Operation;
type Output<M> = M extends Operation<infer T> ? T : M extends readonly [(...given: any[]) => infer T, unknown] ? Awaited<T> : M extends (...given: any[]) => infer T ? Awaited<T> : never;

/** The durable operations, handed to a workflow as its second argument and there on its context as well. */
export interface WorkflowHelpers {
  /** Runs `body` once and remembers its result. Throws StepFailedError when its retries are used up. */
  step<T>(name: string, body: StepBody<T>, options?: StepOptions): Promise<T>;
  /** Records that a step is left out, and why. */
  skip(name: string, reason: string): Promise<void>;
  /** Pauses the workflow; no process waits meanwhile. */
  sleep(duration: Duration, options?: SleepOptions): Promise<void>;
  /** Pauses the workflow until a time: a Date, or a text with an offset such as `2026-12-01T09:00:00Z`. */
  sleepUntil(time: Date | string, options?: SleepOptions): Promise<void>;
  /** Waits for an event and returns its data; null when the timeout came first. */
  waitForEvent<T = any>(event: string, options?: WaitForEventOptions & ({ timeout?: undefined } | { onTimeout: "fail" })): Promise<T>;
  waitForEvent<T = any>(event: string, options: WaitForEventOptions): Promise<T | null>;
  /** Waits until the URL of that name is called (`hookUrl`) and returns what was sent, `{}` for nothing: the event `hook:<name>`. */
  waitForHook<T = any>(name: string, options?: WaitForHookOptions & ({ timeout?: undefined } | { onTimeout: "fail" })): Promise<T>;
  waitForHook<T = any>(name: string, options: WaitForHookOptions): Promise<T | null>;
  /** Waits for a person's decision. */
  approval(name: string, options?: ApprovalOptions): Promise<Decision>;
  /** Runs the named members side by side, each in a call of its own; their results by name. */
  parallel<M extends Record<string, Member>>(name: string, members: M, options?: GroupOptions): Promise<{ [Name in keyof M]: Output<M[Name]> }>;
  /** Runs `body` for each item, each in a call of its own; the results in the items' order. */
  map<Item, T>(name: string, items: readonly Item[], body: (item: Item, member: MemberContext) => T | Promise<T>, options?: GroupOptions): Promise<T[]>;
  /** Starts another workflow and returns its output; one that fails is thrown as StepFailedError. */
  child(workflow: string | WorkflowDefinition, input: unknown, options: ChildOptions & { wait: false }): Promise<{ workflow_id: string }>;
  child<T>(workflow: WorkflowDefinition<any, T>, input: unknown, options?: ChildOptions): Promise<Awaited<T>>;
  child<T = any>(workflow: string, input: unknown, options?: ChildOptions): Promise<T>;
  /** Runs a command (never through a shell) as a step; a status other than 0 fails it. Node only. */
  shell(name: string, command: readonly [string, ...string[]], options?: ShellOptions): Promise<ShellResult>;
  /** Makes an HTTP request as a step; a status that is not 2xx fails it. */
  http(name: string, method: string, url: string | URL, options?: HttpOptions): Promise<HttpResult>;
  /** Runs an operation of the author's as a step. */
  operation<T>(name: string, operation: Operation<T>, options?: StepOptions): Promise<T>;
}

const MAX_IN_FLIGHT = 1000;
const MAX_MEMBERS = 100_000;
const RFC3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)$/;
const ID = /^[A-Za-z0-9_.:-]{1,128}$/;

/** What the helpers need of a turn. */
export interface Asking {
  ask(wanted: Wanted): Promise<any>;
  /** Whether the engine knows already what the next group of this name is. */
  isRecorded(name: string): boolean;
}

/** The helpers as functions that stand on their own, so that `const { step } = ctx` works. */
export function makeHelpers({ ask, isRecorded }: Asking): WorkflowHelpers {
  const run = (name: string, body: StepBody<any>, options: StepOptions, recordedAs: RecordedAs | null): Promise<any> =>
    ask({ kind: "step", name, body, policy: readOptions(`the step '${name}'`, options), recordedAs });

  const group = (name: string, options: GroupOptions) => {
    const { failFast = null, maxInFlight = null } = options;
    checkOneOf(`'${name}': failFast`, failFast, [null, true, false]);
    if (maxInFlight !== null && !(Number.isInteger(maxInFlight) && maxInFlight >= 1 && maxInFlight <= MAX_IN_FLIGHT)) {
      throw new RangeError(`'${name}': maxInFlight must be a whole number from 1 to ${MAX_IN_FLIGHT}, not ${maxInFlight}`);
    }
    return { name, failFast, maxInFlight, policy: readOptions(`'${name}'`, options) };
  };

  const waitForEvent = (name: string, { timeout, onTimeout = "return", match, correlation }: WaitForEventOptions = {}): Promise<any> => {
    checkName("event", name);
    checkOneOf(`the wait for '${name}': onTimeout`, onTimeout, ["return", "fail"]);
    if (correlation !== undefined) checkLength(`the wait for '${name}': correlation`, correlation);
    return ask({ kind: "event", name, timeout: limit(timeout), onTimeout, match: readMatch(name, match), correlation: correlation ?? null });
  };

  return {
    step(name, body, options = {}) {
      checkName("step", name);
      checkFunction(`the step '${name}'`, body);
      return run(name, body, options, null);
    },
    skip(name, reason) {
      checkName("step", name);
      if (typeof reason !== "string") throw new TypeError(`the skipped step '${name}' needs a reason`);
      return ask({ kind: "skip", name, reason }).then(() => undefined);
    },
    sleep(duration, options = {}) {
      const name = sleepName(options);
      return ask({ kind: "sleep", name, end: { duration: wireDuration(duration) } }).then(() => undefined);
    },
    sleepUntil(time, options = {}) {
      const name = sleepName(options);
      return ask({ kind: "sleep", name, end: { until: readTime(time) } }).then(() => undefined);
    },
    waitForEvent,
    waitForHook: (name: string, options: WaitForHookOptions = {}) => waitForEvent(hookEvent(name), options),
    approval(name, { message = "", data, timeout, onTimeout = "reject" } = {}) {
      checkName("approval", name);
      if (typeof message !== "string") throw new TypeError(`the approval '${name}': message must be a text`);
      checkOneOf(`the approval '${name}': onTimeout`, onTimeout, ["reject", "fail"]);
      return ask({ kind: "approval", name, message, data: toJson(data, `the data of the approval '${name}'`), timeout: limit(timeout), onTimeout }).then(readDecision);
    },
    parallel(name, members, options = {}) {
      checkName("group", name);
      return ask({ kind: "parallel", members: readMembers(name, members), ...group(name, options) });
    },
    map(name, items, body, options = {}) {
      checkName("group", name);
      checkFunction(`'${name}'`, body);
      if (!Array.isArray(items)) throw new TypeError(`'${name}': items must be an array`);
      checkCount(name, items.length);
      // The engine has them, and asks for each: to copy ten thousand items ten thousand times would take minutes.
      const sent = isRecorded(name) ? [] : (toJson(items, `the items of '${name}'`) as Json[]);
      return ask({ kind: "map", items: sent, body, ...group(name, options) });
    },
    child(workflow: string | WorkflowDefinition, input: unknown, options: ChildOptions = {}) {
      const started = typeof workflow === "string" ? workflow : workflow?.name;
      if (typeof started !== "string" || started === "") throw new TypeError("a child needs the name of a workflow, or the workflow itself");
      const { name = started, id = null, wait = true, onParentClose = "cancel" } = options;
      checkName("child", name);
      if (id !== null && !ID.test(id)) throw new TypeError(`the child '${name}': id must be 1 to 128 letters, digits, _ . : or -`);
      checkOneOf(`the child '${name}': wait`, wait, [true, false]);
      checkOneOf(`the child '${name}': onParentClose`, onParentClose, ["cancel", "abandon"]);
      return ask({ kind: "child", name, workflow: started, input: toJson(input, `the input of the child '${name}'`), id, wait, onParentClose });
    },
    shell(name, command, options = {}) {
      checkName("step", name);
      if (!Array.isArray(command) || command.length === 0 || command.some((word) => typeof word !== "string" || word.includes("\0"))) {
        throw new TypeError(`the step '${name}' needs a command as a list of texts: the program, then its arguments`);
      }
      const words = [...command] as [string, ...string[]];
      const given = { command: words, ...(options.cwd === undefined ? {} : { cwd: options.cwd }), ...(options.input === undefined ? {} : { input: options.input }) };
      return run(name, async (step) => (await loadShell()).runCommand(words, options, step), options, { kind: "shell", input: given });
    },
    http(name, method, url, options = {}) {
      checkName("step", name);
      const { kind, input, execute } = httpOperation(name, method, url, options);
      return run(name, execute, options, { kind, input });
    },
    operation(name, operation, options = {}) {
      checkName("step", name);
      return run(name, (step) => operation.execute(step), options, readOperation(name, operation));
    },
  } satisfies WorkflowHelpers;
}

function sleepName({ name }: SleepOptions): string | null {
  if (name === undefined) return null;
  checkName("sleep", name);
  return name;
}

async function loadShell(): Promise<typeof import("./shell.js")> {
  // Loaded only here, so that the kit runs where there are no child processes.
  return await import("./shell.js").catch(() => {
    throw new TypeError("ctx.shell needs node:child_process, which this host does not have");
  });
}

function readDecision(output: any): Decision {
  const { approved, by = null, comment = null, data = null, at, timed_out } = Object(output) as Record<string, any>;
  return { approved: approved === true, by, comment, data, at: typeof at === "string" ? new Date(at) : null, timedOut: timed_out === true };
}

function readMembers(name: string, members: Record<string, unknown>): Map<string, NamedMember> {
  if (typeof members !== "object" || members === null || Array.isArray(members)) {
    throw new TypeError(`'${name}': members must be an object of functions, [function, input] or operations`);
  }
  const entries = Object.entries(members);
  checkCount(name, entries.length);
  return new Map(
    entries.map(([member, work]): [string, NamedMember] => {
      checkName("member", member);
      if (typeof work === "function") return [member, { body: (_, step) => work(step), input: null, recordedAs: null }];
      if (Array.isArray(work)) {
        checkFunction(`the member '${member}' of '${name}'`, work[0]);
        return [member, { body: work[0] as MemberBody, input: toJson(work[1], `the input of the member '${member}'`), recordedAs: null }];
      }
      const recordedAs = readOperation(`${name}/${member}`, work as Operation);
      return [member, { body: (_, step) => (work as Operation).execute(step), input: recordedAs.input, recordedAs }];
    }),
  );
}

function readOperation(name: string, operation: Operation): RecordedAs {
  const { kind, input, execute } = Object(operation) as Partial<Operation>;
  checkFunction(`the operation '${name}': execute`, execute);
  checkName("kind", kind, { isKeyed: false });
  if (isTaken(kind)) throw new TypeError(`the operation '${name}': the kind '${kind}' is the engine's own`);
  return { kind, input: toJson(input, `the input of the operation '${name}'`) };
}

function readMatch(name: string, match: Record<string, unknown> | undefined): Record<string, Json> | null {
  if (match === undefined) return null;
  const read = toJson(match, `the match of the wait for '${name}'`);
  if (typeof read !== "object" || read === null || Array.isArray(read)) throw new TypeError(`the wait for '${name}': match must be an object of paths and values`);
  for (const path of Object.keys(read)) checkLength(`the wait for '${name}': a path to match`, path);
  return read;
}

function readTime(time: unknown): string {
  const date = time instanceof Date ? time : new Date(typeof time === "string" && RFC3339.test(time) ? time : Number.NaN);
  const text = Number.isNaN(date.getTime()) ? "" : date.toISOString();
  // toISOString gives a year of five digits a sign.
  if (!RFC3339.test(text)) throw new RangeError(`a time must be a Date or a text such as 2026-12-01T09:00:00Z, not ${String(time).slice(0, 60)}`);
  return text;
}

function limit(timeout: Duration | undefined): string | null {
  return timeout === undefined ? null : wireDuration(timeout);
}

function checkFunction(what: string, value: unknown): void {
  if (typeof value !== "function") throw new TypeError(`${what} needs a function`);
}

function checkOneOf(what: string, value: unknown, allowed: readonly unknown[]): void {
  if (!allowed.includes(value)) throw new TypeError(`${what} must be one of ${allowed.filter((one) => one !== null).join(", ")}, not ${String(value).slice(0, 60)}`);
}

function checkLength(what: string, value: unknown): void {
  if (typeof value !== "string" || value === "" || [...value].length > 512) throw new TypeError(`${what} must have 1 to 512 characters`);
}

function checkCount(name: string, count: number): void {
  if (count > MAX_MEMBERS) throw new RangeError(`'${name}' has ${count} members, and a group holds at most ${MAX_MEMBERS}`);
}
