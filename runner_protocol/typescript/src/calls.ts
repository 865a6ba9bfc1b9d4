/** What workflow code can ask for: each call of a helper as data. */
import type { Json } from "./json.js";
import type { MemberContext, Policy, StepBody } from "./options.js";

/** Work that is recorded under a kind of its own, with what it was given. */
export interface RecordedAs {
  kind: string;
  input: Json;
}

/** The body of a map's member, or of one of a parallel's. */
export type MemberBody = (input: any, member: MemberContext) => unknown;

interface GroupWanted {
  name: string;
  policy: Policy;
  failFast: boolean | null;
  maxInFlight: number | null;
}

/** A parallel's member: its body, and how it is recorded. */
export interface NamedMember {
  body: MemberBody;
  input: Json;
  recordedAs: RecordedAs | null;
}

export type Wanted =
  | { kind: "step"; name: string; body: StepBody<unknown>; policy: Policy; recordedAs: RecordedAs | null }
  | { kind: "skip"; name: string; reason: string }
  | { kind: "sleep"; name: string | null; end: { duration: string } | { until: string } }
  | {
      kind: "event";
      name: string;
      timeout: string | null;
      onTimeout: "return" | "fail";
      match: Record<string, Json> | null;
      correlation: string | null;
    }
  | { kind: "approval"; name: string; message: string; data: Json; timeout: string | null; onTimeout: "reject" | "fail" }
  | ({ kind: "parallel"; members: Map<string, NamedMember> } & GroupWanted)
  | ({ kind: "map"; items: Json[]; body: MemberBody } & GroupWanted)
  | {
      kind: "child";
      name: string;
      workflow: string;
      input: Json;
      id: string | null;
      wait: boolean;
      onParentClose: "cancel" | "abandon";
    };

export type Kind = Wanted["kind"];

/** A call of a helper that has not been answered yet; `after` is how many positions had been handed out when it was made. */
export type Call<K extends Kind = Kind> = Extract<Wanted, { kind: K }> & { key: string; after: number };

/** Calls that run in the turn itself; all others suspend it. */
export function isWork(call: Call): call is Call<"step" | "skip"> {
  return call.kind === "step" || call.kind === "skip";
}

/** The key of the first such call in a run. */
export function keyBase(wanted: Wanted): string {
  switch (wanted.kind) {
    case "event":
      return `event:${wanted.name}`;
    case "sleep":
      return wanted.name === null ? "sleep" : `sleep:${wanted.name}`;
    case "approval":
      return `approval:${wanted.name}`;
    case "child":
      return `child:${wanted.name}`;
    default:
      return wanted.name;
  }
}

/** The call as its author wrote it, for errors. */
export function shown({ kind, name }: Pick<Wanted, "kind" | "name">): string {
  if (name === null) return "sleep";
  return `${kind === "event" ? "waitForEvent" : kind}('${name}')`;
}

const OTHER_KINDS: readonly string[] = ["sleep", "event", "approval", "child", "parallel", "map"];

/** Kinds that no operation may be recorded as. */
export function isTaken(kind: string): boolean {
  return OTHER_KINDS.includes(kind) || kind === "step";
}

/**
 * A step named "sleep" and a sleep without a name share a key; a step's record may name a kind of its own ("http").
 * What was skipped fits only a call that skips, and the other way round.
 */
export function fits(record: { kind: string; status: string }, call: Call): boolean {
  if (!isWork(call)) return record.kind === call.kind;
  return !OTHER_KINDS.includes(record.kind) && (record.status === "skipped") === (call.kind === "skip");
}
