import assert from "node:assert/strict";
import { test } from "node:test";
import { describeError, isFinal, NonRetryableError, StepFailedError } from "../src/errors.js";
import { failure } from "../src/step.js";
import { JsonError, toJson } from "../src/json.js";

test("plain data comes back equal", () => {
  const shared = { a: 1 };
  for (const value of [null, true, 0, -1.5, 1e300, 1e21, 2 ** 53, "", "𝄞\u0000", [], {}, [[1], { a: [null] }], [shared, shared], Object.create(null)]) {
    assert.deepEqual(toJson(value), JSON.parse(JSON.stringify(value)));
  }
});

test("undefined is null, and left out of an object", () => {
  assert.equal(toJson(undefined), null);
  assert.deepEqual(toJson([undefined, 1]), [null, 1]);
  assert.deepEqual(toJson(new Array(2)), [null, null]);
  assert.deepEqual(toJson({ a: undefined, b: 1 }), { b: 1 });
});

test("toJSON is obeyed, and an object with fields of its own is taken as data", () => {
  class Money {
    constructor(readonly amount: number) {}
  }
  assert.equal(toJson(new Date(0)), "1970-01-01T00:00:00.000Z");
  assert.deepEqual(toJson({ at: { toJSON: (key: string) => ({ key }) } }), { at: { key: "at" } });
  assert.deepEqual(toJson(new Money(5)), { amount: 5 });
  assert.equal(JSON.stringify(toJson(JSON.parse('{"__proto__":{"a":1}}'))), '{"__proto__":{"a":1}}');
});

test("whatever JSON would lose is refused with its place", () => {
  const cycle: Record<string, unknown> = {};
  cycle["self"] = { again: cycle };
  class Secret {
    #hidden = 1;
    read(): number {
      return this.#hidden;
    }
  }
  const wrong: [unknown, RegExp][] = [
    [NaN, /\$ is NaN/],
    [{ a: [Infinity] }, /\$\.a\[0\] is Infinity/],
    [{ "a b": -Infinity }, /\$\["a b"\] is -Infinity/],
    [5n, /\$ is a bigint/],
    [2 ** 64, /does not fit 64 bits/],
    [-(2 ** 65), /does not fit 64 bits/],
    [() => 1, /\$ is a function/],
    [{ f() {} }, /\$\.f is a function/],
    [Symbol("s"), /\$ is a symbol/],
    [cycle, /\$\.self\.again is a cycle/],
    ["\ud800", /half a character/],
    [{ "\udc00": 1 }, /a key of \$ holds half a character/],
    [new Map([[1, 2]]), /\$ is a Map/],
    [{ tags: new Set([1]) }, /\$\.tags is a Set/],
    [new Error("x"), /\$ is a Error/],
    [new Uint8Array(2), /\$ is a Uint8Array/],
    [new ArrayBuffer(2), /\$ is a ArrayBuffer/],
    [/x/, /\$ is a RegExp/],
    [Promise.resolve(1), /\$ is a Promise/],
    [new Secret(), /\$ is a Secret/],
    [new Date(Number.NaN), /an invalid Date/],
  ];
  for (const [value, message] of wrong) {
    assert.throws(
      () => toJson(value, "the result"),
      (error: Error) => error instanceof JsonError && error.message.startsWith("the result is not lossless JSON: ") && message.test(error.message),
      message.source,
    );
  }
});

test("64 levels are taken and 65 are refused", () => {
  const nested = (levels: number): unknown => (levels === 0 ? 1 : [nested(levels - 1)]);
  assert.doesNotThrow(() => toJson(nested(64)));
  assert.throws(() => toJson(nested(65)), /nested deeper than 64/);
  assert.throws(() => toJson(nested(5_000)), JsonError);
});

test("whatever is thrown is described, however odd", () => {
  class DeclinedError extends Error {}
  const without = (thrown: unknown) => {
    const { stack: _, ...rest } = describeError(thrown);
    return rest;
  };
  assert.deepEqual(without(new DeclinedError("no")), { type: "DeclinedError", message: "no" });
  assert.deepEqual(without(new Error("")), { type: "Error", message: "Error" });
  assert.deepEqual(without(new AggregateError([new Error("no"), "never", null], "all failed")), { type: "AggregateError", message: "all failed: no; never; null" });
  const odd = new AggregateError([Object.create(null), new Error("no")], "all failed");
  assert.deepEqual(without(odd), { type: "AggregateError", message: "all failed: what cannot be shown; no" });
  const broken = Object.assign(new AggregateError([], "all failed"), { errors: null });
  assert.deepEqual(without(broken), { type: "AggregateError", message: "all failed" });
  assert.deepEqual(without("just text"), { type: "Error", message: "just text" });
  assert.deepEqual(without(undefined), { type: "Error", message: "undefined" });
  assert.deepEqual(without(Symbol("s")), { type: "Error", message: "Symbol(s)" });
  assert.deepEqual(without({ reason: "x" }), { type: "Error", message: '{"reason":"x"}' });
  assert.deepEqual(without(Object.create(null)), { type: "Error", message: "{}" });
  assert.deepEqual(without({ message: "like an error", code: 7 }), { type: "Error", message: "like an error", code: 7 });
  assert.deepEqual(without(Object.assign(new Error("x"), { data: () => 1, code: {} })), { type: "Error", message: "x" });
  assert.deepEqual(without(Object.assign(new Error("x"), { data: "y".repeat(70_000) })), { type: "Error", message: "x" });
  assert.equal(describeError(new Error("\ud800 half")).message, "\ufffd half");
  assert.equal(describeError(new Error("x".repeat(100_000))).message.length, 16_384);
  const hostile = new Proxy({}, { get: () => { throw new Error("no entry"); } });
  assert.equal(describeError(hostile).type, "Error");
});

test("several errors are final when each of them is", () => {
  const final = new StepFailedError("a", "a", "no", 1);
  assert.equal(isFinal(new AggregateError([final, new NonRetryableError("x")])), true);
  assert.equal(isFinal(new AggregateError([final, new Error("x")])), false);
  assert.equal(isFinal(new AggregateError([])), false);
});

test("what refuses to be looked at is described and judged all the same", () => {
  const traps = new Proxy(new Error("no"), {
    get: () => {
      throw new Error("trap");
    },
    getPrototypeOf: () => {
      throw new Error("trap");
    },
  });
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const mute = Object.assign(() => null, {
    toString: () => {
      throw new Error("no text");
    },
  });
  const nested = new AggregateError([], "holds itself");
  nested.errors = [nested];
  const broken = Object.assign(new AggregateError([]), { errors: null });
  for (const thrown of [traps, proxy, mute, nested, broken]) {
    const { error, retryable } = failure(thrown) as { error: { type: string }; retryable?: boolean };
    assert.equal(typeof error.type, "string");
    assert.equal(retryable, undefined);
  }
});
