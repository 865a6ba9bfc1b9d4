import assert from "node:assert/strict";
import { test } from "node:test";
import { Keys } from "../src/keys.js";
import type { TurnRequest } from "../src/messages.js";
import { MalformedRequestError, readRequest } from "../src/requests.js";
import { record, records, request } from "./engine.js";

function readTurn(body: unknown): TurnRequest {
  const read = readRequest(body);
  assert.ok(read !== null);
  return read;
}

test("a request of version 2 is read, and what is unknown is ignored", () => {
  const read = readTurn(request({ vars: { a: 1 }, new_field: [], ...records(record("a", { output: { id: 1 } })) }));
  assert.equal(read.workflow_id, "wf_1");
  assert.equal(read.max_attempts, 4);
  assert.deepEqual(read.completed_steps.map(({ key, position, final }) => ({ key, position, final })), [{ key: "a", position: 0, final: false }]);
});

test("what a version-1 engine does not send follows from the rules", () => {
  const old = (name: string, status = "completed") => ({ step_id: "step_0", name, status, output: name, retry_count: 0 });
  const read = readTurn({
    workflow_id: "wf_1",
    workflow_name: "order",
    input: null,
    current_step: 5,
    completed_steps: [old("a"), old("a", "failed"), old("a", "failed"), old("a"), old("sleep:24h"), old("event:paid"), old("event:paid")],
  });
  assert.deepEqual(
    read.completed_steps.map(({ key, kind, position }) => [key, kind, position]),
    [
      ["a", "step", 0],
      ["a#2", "step", null],
      ["a#2", "step", null],
      ["a#2", "step", 1],
      ["sleep", "sleep", 2],
      ["event:paid", "event", 3],
      ["event:paid#2", "event", 4],
    ],
  );
  assert.equal(read.run, 1);
  assert.equal(read.max_attempts, null);
});

test("a request that is none names the field that is wrong", () => {
  const kept = (more: object) => ({ completed_steps: [record("a"), { ...record("b"), ...more }] });
  const wrong: [string, unknown][] = [
    ["", null],
    ["", []],
    ["", "text"],
    ["workflow_id", request({ workflow_id: undefined })],
    ["workflow_id", request({ workflow_id: 5 })],
    ["workflow_name", request({ workflow_name: "" })],
    ["workflow_name", request({ workflow_name: null })],
    ["input", request({ input: undefined })],
    ["current_step", request({ current_step: "0" })],
    ["current_step", request({ current_step: 0.5 })],
    ["current_step", request({ current_step: -1 })],
    ["completed_steps", request({ completed_steps: undefined })],
    ["completed_steps", request({ completed_steps: {} })],
    ["completed_steps[1]", request({ completed_steps: [record("a"), 5] })],
    ["completed_steps[1].name", request(kept({ name: 5 }))],
    ["completed_steps[1].status", request(kept({ status: "COMPLETED" }))],
    ["completed_steps[1].status", request(kept({ status: undefined }))],
    ["completed_steps[1].error", request(kept({ error: {} }))],
    ["completed_steps[1].completed_at", request(kept({ completed_at: "yesterday" }))],
    ["completed_steps[1].completed_at", request(kept({ completed_at: "2026-13-01T00:00:00Z" }))],
    ["completed_steps[1].key", request(kept({ key: "" }))],
    ["completed_steps[1].kind", request(kept({ kind: 1 }))],
    ["completed_steps[1].position", request(kept({ position: "1" }))],
    ["completed_steps[1].position", request(kept({ position: null }))],
    ["completed_steps[1].position", request(kept({ status: "failed", position: 1 }))],
    ["completed_steps[1].final", request(kept({ final: "yes" }))],
    ["mode", request({ mode: "later" })],
    ["member", request({ mode: "run_step" })],
    ["member.key", request({ mode: "run_step", member: { group: "g", name: "g", index: 0, total: 1, input: 1 } })],
    ["member.index", request({ mode: "run_step", member: { group: "g", name: "g", key: "g[0]", index: -1, total: 1, input: 1 } })],
    ["vars", request({ vars: [] })],
    ["noted", request({ noted: "1" })],
    ["parent", request({ parent: "wf_0" })],
    ["parent.workflow_id", request({ parent: { key: "child:a" } })],
    ["attempt.number", request({ attempt: { number: "1", max: 4 } })],
    ["mode", request({ mode: 1 })],
    ["protocol", request({ protocol: "2" })],
    ["run", request({ run: 0 })],
    ["run", request({ run: "1" })],
    ["workflow_version", request({ workflow_version: 1 })],
    ["started_at", request({ started_at: 0 })],
    ["now", request({ now: "2026-01-01" })],
    ["attempt", request({ attempt: 1 })],
    ["attempt.max", request({ attempt: { number: 1, max: "4" } })],
    ["seed", request({ seed: 1 })],
  ];
  for (const [field, body] of wrong) {
    assert.throws(
      () => readRequest(body),
      (error: Error) => error instanceof MalformedRequestError && error.field === field && error.message.startsWith(field || "the request "),
      `${field}: ${JSON.stringify(body)}`,
    );
  }
});

test("a key is the first free one of its name", () => {
  const keys = new Keys();
  assert.deepEqual(["a", "b", "a", "a#2", "a"].map((base) => keys.take(base)), ["a", "b", "a#2", "a#2#2", "a#3"]);
});

test("ten thousand keys of one name are taken in no time", () => {
  const keys = new Keys();
  for (let number = 1; number < 10_000; number += 1) keys.take("a");
  assert.equal(keys.take("a"), "a#10000");
});
