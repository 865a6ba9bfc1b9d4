/** One member of a group (PROTOCOL.md section 5): finds it among what the code waits for. */
import type { Call } from "./calls.js";
import type { Diverged, MemberRequest, TurnRequest } from "./messages.js";
import { type Replay, THE_END } from "./replay.js";
import type { Attempt } from "./step.js";

/** The attempt that the request asks for, once all records are handed out; else how the code no longer fits. */
export function findMember(request: TurnRequest, replay: Replay): Attempt | Diverged {
  const { member } = request;
  if (member === null) throw new Error("only a run_step has a member");
  const group = replay.call(member.group);
  const found = group === null ? null : inGroup(group, member);
  if (found === null) {
    const got = group === null ? (replay.firstAsked()?.key ?? THE_END) : `${group.key} (a ${group.kind}) without this member`;
    return { action: "diverged", position: replay.handedOutCount, expected: member.key, got };
  }
  const { count, lastError } = replay.failures(member.key);
  return {
    ...found,
    name: member.name,
    key: member.key,
    after: null,
    number: Math.max(count + 1, request.attempt.number),
    maxAttempts: request.max_attempts,
    lastError: request.attempt.last_error ?? lastError,
    idempotencyKey: `${request.workflow_id}:${request.run}:${member.key}`,
    member: { index: member.index, total: member.total },
  };
}

/** The item is the engine's, recorded when the group began: what the code says now may differ. */
function inGroup(group: Call, { name, input }: MemberRequest): Pick<Attempt, "body" | "policy" | "recordedAs"> | null {
  if (group.kind === "map") {
    const { body, policy } = group;
    return { body: (step) => body(input, step), policy, recordedAs: null };
  }
  const found = group.kind === "parallel" ? group.members.get(name) : undefined;
  if (found === undefined || group.kind !== "parallel") return null;
  return { body: (step) => found.body(input, step), policy: group.policy, recordedAs: found.recordedAs };
}
