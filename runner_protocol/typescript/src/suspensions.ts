/** The calls that the engine carries out, as the actions that ask for them. Fields that hold their default are left out. */
import type { Call } from "./calls.js";
import type { Suspension } from "./messages.js";

export function suspension(call: Exclude<Call, Call<"step" | "skip">>): Suspension {
  const { key, after } = call;
  switch (call.kind) {
    case "sleep":
      return { action: "sleep", ...call.end, ...(call.name === null ? {} : { name: call.name }), key, after };
    case "event":
      return {
        action: "wait_event",
        event: call.name,
        key,
        after,
        ...given("timeout", call.timeout),
        ...(call.onTimeout === "fail" ? { on_timeout: "fail" } : {}),
        ...given("match", call.match),
        ...given("correlation", call.correlation),
      };
    case "approval":
      return {
        action: "approval",
        name: call.name,
        key,
        after,
        ...(call.message === "" ? {} : { message: call.message }),
        ...given("data", call.data),
        ...given("timeout", call.timeout),
        ...(call.onTimeout === "fail" ? { on_timeout: "fail" } : {}),
      };
    case "parallel": {
      const members = [...call.members].map(([name, { input }]) => ({ name, input }));
      return { action: "parallel", name: call.name, key, after, members, ...limits(call) };
    }
    case "map":
      return { action: "map", name: call.name, key, after, items: call.items, ...limits(call) };
    case "child":
      return {
        action: "start_child",
        name: call.name,
        key,
        after,
        workflow: call.workflow,
        input: call.input,
        ...given("id", call.id),
        ...(call.wait ? {} : { wait: false }),
        ...(call.onParentClose === "abandon" ? { on_parent_close: "abandon" } : {}),
      };
  }
}

function limits({ failFast, maxInFlight }: Call<"map" | "parallel">): { fail_fast?: boolean; max_in_flight?: number } {
  return { ...given("fail_fast", failFast), ...given("max_in_flight", maxInFlight) };
}

function given<Field extends string, T>(field: Field, value: T | null): { [F in Field]?: T } {
  return value === null ? {} : ({ [field]: value } as { [F in Field]?: T });
}
