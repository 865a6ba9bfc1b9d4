/** Reads the engine's request: strict about the types of what it knows, blind to what it does not know. */
import { Keys } from "./keys.js";
import { type MemberRequest, RECORD_STATUSES, type StepRecord, type TurnRequest } from "./messages.js";

/** The request is none of the protocol's; `field` is the path of what is wrong in it. */
export class MalformedRequestError extends TypeError {
  override readonly name = "MalformedRequestError";

  constructor(
    readonly field: string,
    problem: string,
  ) {
    super(field === "" ? `the request ${problem}` : `${field} ${problem}`);
  }
}

type Fields = Record<string, unknown>;

const RFC3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)$/;

/** Checks a parsed request; null asks which workflows there are. Throws MalformedRequestError. */
export function readRequest(body: unknown): TurnRequest | null {
  if (!isFields(body)) throw new MalformedRequestError("", "must be a JSON object");
  const mode = optional(body, "mode", "mode", string) ?? "advance";
  if (mode === "describe") return null;
  if (mode !== "advance" && mode !== "run_step") {
    throw new MalformedRequestError("mode", `${JSON.stringify(mode.slice(0, 40))} is not supported by this release of the kit`);
  }
  optional(body, "protocol", "protocol", whole);
  const workflowId = required(body, "workflow_id", "workflow_id", name);
  const workflowName = required(body, "workflow_name", "workflow_name", name);
  if (body["input"] === undefined) throw new MalformedRequestError("input", "is missing");
  const run = optional(body, "run", "run", whole) ?? 1;
  if (run < 1) throw new MalformedRequestError("run", "must be at least 1");
  const records = required(body, "completed_steps", "completed_steps", list);
  optional(body, "now", "now", time);
  const attempt = optional(body, "attempt", "attempt", fields) ?? {};
  const parent = optional(body, "parent", "parent", fields);
  return {
    workflow_id: workflowId,
    workflow_name: workflowName,
    input: body["input"],
    current_step: required(body, "current_step", "current_step", whole),
    completed_steps: readRecords(records),
    run,
    workflow_version: optional(body, "workflow_version", "workflow_version", string) ?? null,
    started_at: optional(body, "started_at", "started_at", time) ?? new Date().toISOString(),
    seed: optional(body, "seed", "seed", string) ?? `${workflowId}:${run}`,
    attempt: {
      number: optional(attempt, "number", "attempt.number", whole) ?? 1,
      last_error: optional(attempt, "last_error", "attempt.last_error", string) ?? null,
    },
    max_attempts: optional(attempt, "max", "attempt.max", whole) ?? null,
    vars: optional(body, "vars", "vars", fields) ?? {},
    noted: optional(body, "noted", "noted", whole) ?? 0,
    parent: parent === undefined ? null : readParent(parent),
    hooks: readHooks(optional(body, "hooks", "hooks", fields)),
    member: mode === "run_step" ? readMember(optional(body, "member", "member", fields)) : null,
  };
}

function readParent(parent: Fields): TurnRequest["parent"] {
  return {
    workflow_id: required(parent, "workflow_id", "parent.workflow_id", name),
    key: optional(parent, "key", "parent.key", string) ?? null,
  };
}

function readHooks(hooks: Fields | undefined): TurnRequest["hooks"] {
  if (hooks === undefined) return null;
  return { base_url: required(hooks, "base_url", "hooks.base_url", name), key: required(hooks, "key", "hooks.key", name) };
}

function readMember(member: Fields | undefined): MemberRequest {
  if (member === undefined) throw new MalformedRequestError("member", 'is missing, and the mode "run_step" is about one');
  return {
    group: required(member, "group", "member.group", name),
    name: required(member, "name", "member.name", name),
    key: required(member, "key", "member.key", name),
    index: required(member, "index", "member.index", whole),
    total: required(member, "total", "member.total", whole),
    input: member["input"] ?? null,
  };
}

function readRecords(records: unknown[]): StepRecord[] {
  const keys = new Keys();
  let positions = 0;
  return records.map((value, index) => {
    const path = `completed_steps[${index}]`;
    if (!isFields(value)) throw new MalformedRequestError(path, "must be an object");
    const record = readRecord(value, path, keys, positions);
    if (record.position !== null) {
      positions = record.position + 1;
      keys.take(record.key);
    }
    return record;
  });
}

/** What a version-1 engine does not send follows from the rules by which the engine assigns it. */
function readRecord(value: Fields, path: string, keys: Keys, nextPosition: number): StepRecord {
  const record = required(value, "name", `${path}.name`, name);
  const status = required(value, "status", `${path}.status`, oneOfStatuses);
  const sent = optional(value, "position", `${path}.position`, whole);
  const position = sent ?? (value["position"] === undefined && status !== "failed" ? nextPosition : null);
  const final = optional(value, "final", `${path}.final`, boolean) ?? false;
  if (status === "failed" ? position !== null && !final : position === null) {
    throw new MalformedRequestError(`${path}.position`, `must not be ${position} in a ${final ? "final " : ""}${status} record`);
  }
  const kind = optional(value, "kind", `${path}.kind`, string) ?? /^(sleep|event):/.exec(record)?.[1] ?? "step";
  const completedAt = optional(value, "completed_at", `${path}.completed_at`, time);
  return {
    ...value,
    name: record,
    status,
    error: optional(value, "error", `${path}.error`, string) ?? null,
    ...(completedAt === undefined ? {} : { completed_at: completedAt }),
    key: optional(value, "key", `${path}.key`, name) ?? keys.firstFree(kind === "sleep" ? "sleep" : record),
    kind,
    position,
    final,
  };
}

type Check<T> = (value: unknown, path: string) => T;

function required<T>(object: Fields, field: string, path: string, check: Check<T>): T {
  if (object[field] === undefined) throw new MalformedRequestError(path, "is missing");
  return check(object[field], path);
}

function optional<T>(object: Fields, field: string, path: string, check: Check<T>): T | undefined {
  const value = object[field];
  return value === undefined || value === null ? undefined : check(value, path);
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function checked<T>(wanted: string, isRight: (value: unknown) => value is T): Check<T> {
  return (value, path) => {
    if (!isRight(value)) throw new MalformedRequestError(path, `must be ${wanted}`);
    return value;
  };
}

const fields = checked("an object", isFields);
const list = checked("a list", (value): value is unknown[] => Array.isArray(value));
const string = checked("a string", (value) => typeof value === "string");
const boolean = checked("true or false", (value) => typeof value === "boolean");
const name = checked("a string that is not empty", (value): value is string => typeof value === "string" && value !== "");
const whole = checked(
  "a whole number, 0 or more",
  (value): value is number => typeof value === "number" && Number.isSafeInteger(value) && value >= 0,
);
const time = checked(
  "an RFC 3339 time such as 2026-12-01T09:00:00.000Z",
  (value): value is string => typeof value === "string" && RFC3339.test(value) && !Number.isNaN(Date.parse(value)),
);
const oneOfStatuses = checked(`one of ${RECORD_STATUSES.join(", ")}`, (value): value is StepRecord["status"] =>
  (RECORD_STATUSES as readonly unknown[]).includes(value),
);
