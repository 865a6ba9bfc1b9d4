import assert from "node:assert/strict";
import { test } from "node:test";
import { createRunner, MalformedRequestError, workflow } from "../src/index.js";
import { record, records, request } from "./engine.js";

const runner = createRunner([
  workflow("order", (ctx, { step }) => step("a", () => ctx.input)),
  workflow("big", (ctx, { step }) => step("a", () => "é".repeat(ctx.input))),
  workflow("big end", (ctx) => "x".repeat(ctx.input)),
]);

const post = (body: string | Uint8Array) => runner.fetch(new Request("http://runner/any/path", { method: "POST", body }));
const ask = async (more: Record<string, unknown>): Promise<Record<string, any>> => (await post(JSON.stringify(request(more)))).json() as any;

test("fetch answers an action as JSON", async () => {
  const response = await post(JSON.stringify(request({ input: { user: "älice" } })));
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "application/json; charset=utf-8");
  const { action, output } = (await response.json()) as Record<string, unknown>;
  assert.deepEqual({ action, output }, { action: "step_complete", output: { user: "älice" } });
});

test("any other method is refused with what is allowed", async () => {
  for (const method of ["GET", "PUT", "DELETE", "HEAD"]) {
    const response = await runner.fetch(new Request("http://runner/run", { method }));
    assert.equal(response.status, 405);
    assert.equal(response.headers.get("allow"), "POST");
  }
});

test("an unknown workflow is deferred, so that a rolling deploy fails nothing", async () => {
  assert.deepEqual(await ask({ workflow_name: "later" }), { action: "defer", retry_after: "5s", reason: "unknown workflow 'later'" });
});

test("a malformed request is a 400 that names the field and is no action", async () => {
  const response = await post(JSON.stringify(request({ current_step: "0" })));
  assert.equal(response.status, 400);
  assert.deepEqual(await response.json(), { error: "current_step must be a whole number, 0 or more", field: "current_step" });
  for (const body of ["", "{", "NaN", new Uint8Array([0xff, 0xfe])]) {
    const refused = await post(body);
    assert.equal(refused.status, 400);
    assert.match(((await refused.json()) as { error: string }).error, /^the request is not JSON in UTF-8/);
  }
  const other = await post(JSON.stringify(request({ mode: "later" })));
  assert.equal(other.status, 400);
  assert.equal(((await other.json()) as { field: string }).field, "mode");
});

/** The bad texts of the engine's own doors (tests/properties/test_json_doors.py), as an input that the kit is sent. */
const bytes = (...codes: number[]) => Uint8Array.from(codes);
const refusedTexts: Record<string, string | Uint8Array> = {
  NaN: '{"a":[1,NaN]}',
  infinity: '{"a":-Infinity}',
  "a byte order mark": "\ufeff1",
  "UTF-16": bytes(0x22, 0, 0x78, 0, 0x22, 0),
  "a byte that is no UTF-8": bytes(0x22, 0xff, 0x22),
  "an overlong slash": bytes(0x22, 0xc0, 0xaf, 0x22),
  "a surrogate in UTF-8": bytes(0x22, 0xed, 0xa0, 0x80, 0x22),
  "a bare control character": '"a\nb"',
  "single quotes": "{'a':1}",
  "a comma too many": "[1,]",
  "a comment": "1 // one",
  "two values": "1 2",
  "a leading zero": "01",
  "a word": "undefined",
  "cut off": '{"a":',
};

/** JavaScript's parser takes these. No engine sends them, and what a step returns of them is refused on its way out, or as shown. */
const changedTexts: Record<string, [text: string, said: RegExp | string]> = {
  "a double beyond its range": ['{"a":1e999}', /\$\.a is Infinity/],
  "2^64": ["[18446744073709551616]", /does not fit 64 bits/],
  "a number of a thousand digits": ["1".repeat(1000), /\$ is Infinity/],
  "a high surrogate alone": ['"x\\ud800"', /half a character/],
  "a low surrogate alone": ['{"a":"\\udc00"}', /half a character/],
  "surrogates in the wrong order": ['"\\udd1e\\ud834"', /half a character/],
  "a surrogate in a key": ['{"\\ud800":1}', /half a character/],
  "depth 65": ["[".repeat(65) + "]".repeat(65), /nested deeper than 64/],
  "depth 5,000": ["[".repeat(5_000) + "]".repeat(5_000), /nested deeper than 64/],
  "a key that stands twice": ['{"a":1,"b":2,"a":1}', '{"a":1,"b":2}'],
  "a key twice, once as an escape": ['{"a":1,"\\u0061":2}', '{"a":2}'],
  "__proto__ twice": ['{"__proto__":1,"__proto__":2}', '{"__proto__":2}'],
  "below -2^63, which JavaScript rounds": ["[-9223372036854775809]", "[-9223372036854776000]"],
  "an integer beyond 2^53": ["[9007199254740993]", "[9007199254740992]"],
};

/** A request whose input is this text; encoded by hand, because fetch would mend it. */
function withInput(input: string | Uint8Array): Uint8Array {
  const [before, after] = JSON.stringify(request({ input: "here" })).split('"here"').map((part) => new TextEncoder().encode(part));
  return Buffer.concat([before!, typeof input === "string" ? new TextEncoder().encode(input) : input, after!]);
}

for (const [name, text] of Object.entries(refusedTexts)) {
  test(`a text that is no JSON is refused when the kit is asked: ${name}`, async () => {
    const response = await post(withInput(text));
    assert.equal(response.status, 400);
    assert.match(((await response.json()) as { error: string }).error, /^the request is not JSON in UTF-8/);
  });
}

test("so is a byte order mark before the whole request", async () => {
  assert.equal((await post(Buffer.concat([bytes(0xef, 0xbb, 0xbf), withInput("1")]))).status, 400);
});

for (const [name, [text, said]] of Object.entries(changedTexts)) {
  test(`what JavaScript reads otherwise never goes back as something that is no JSON: ${name}`, async () => {
    const response = await post(withInput(text));
    const body = await response.text();
    const answer = JSON.parse(body) as Record<string, any>;
    if (typeof said === "string") {
      assert.equal(answer["action"], "step_complete");
      assert.ok(body.includes(`"output":${said}`), body);
    } else {
      assert.equal(answer["action"], "fail");
      assert.equal(answer["retryable"], false);
      assert.match(answer["error"].message, said);
    }
  });
}

test("a body that is too large is refused, announced or not", async () => {
  const headers = { "content-length": String(64 * 1024 * 1024 + 1) };
  const announced = await runner.fetch(new Request("http://runner/run", { method: "POST", headers, body: "{}" }));
  assert.equal(announced.status, 413);
  const chunk = new Uint8Array(8 * 1024 * 1024).fill(32);
  let chunks = 0;
  const body = new ReadableStream({
    pull(controller) {
      chunks += 1;
      controller.enqueue(chunk);
    },
  });
  const streamed = await runner.fetch(new Request("http://runner/run", { method: "POST", body, duplex: "half" } as RequestInit));
  assert.equal(streamed.status, 413);
  assert.ok(chunks < 12);
});

test("an answer that the engine would not read is a failure that says so", async () => {
  const mebibyte = 1024 * 1024;
  const fits = await ask({ workflow_name: "big", input: 1.9 * mebibyte });
  assert.equal(fits["action"], "step_complete");
  const step = await ask({ workflow_name: "big", input: 2.1 * mebibyte });
  assert.equal(step["action"], "fail");
  assert.equal(step["key"], "a");
  assert.equal(step["retryable"], false);
  assert.equal(step["on_exhausted"], "throw");
  assert.match(step["error"].message, /^the answer has \d+ bytes, and the engine takes 4194304/);
  const end = await ask({ workflow_name: "big end", input: 5 * mebibyte });
  assert.equal(end["action"], "fail");
  assert.equal("key" in end, false);
});

test("handleRequest takes the parsed body, changes nothing in it and throws for a malformed one", async () => {
  const changing = createRunner([
    workflow("order", async (ctx, { step }) => {
      const got = await step("a", () => [0]);
      got.push(1);
      ctx.input.seen = true;
      return got;
    }),
  ]);
  const body = request(records(record("a", { output: [0] })));
  const before = structuredClone(body);
  assert.deepEqual(await changing.handleRequest(body), { action: "complete", output: [0, 1] });
  assert.deepEqual(await changing.handleRequest(body), { action: "complete", output: [0, 1] });
  assert.deepEqual(body, before);
  await assert.rejects(changing.handleRequest({}), MalformedRequestError);
  await assert.rejects(changing.handleRequest(undefined), MalformedRequestError);
});

test("when the caller has gone no step is started, and a running one is told", async () => {
  const caller = new AbortController();
  let started = 0;
  let seen: unknown;
  const gone = createRunner([
    workflow("before", async (_, { step }) => {
      await new Promise<void>((resolve) => { caller.abort(); setImmediate(resolve); });
      await step("a", () => (started += 1));
    }),
    workflow("hung", () => new Promise(() => undefined)),
    workflow("during", (_, { step }) =>
      step("a", ({ signal }) => new Promise<void>((resolve) => {
        signal.addEventListener("abort", () => { seen = signal.aborted; resolve(); });
        other.abort();
      })),
    ),
  ]);
  const send = (workflow_name: string, signal: AbortSignal) =>
    gone.fetch(new Request("http://runner/run", { method: "POST", body: JSON.stringify(request({ workflow_name })), signal }));
  const other = new AbortController();
  assert.match(await (await send("before", caller.signal)).text(), /the caller has gone/);
  assert.equal(started, 0);
  const hung = new AbortController();
  const answer = send("hung", hung.signal);
  setImmediate(() => hung.abort());
  assert.match(await (await answer).text(), /the caller has gone/);
  await send("during", other.signal);
  assert.equal(seen, true);
});

test("two workflows of one name, and a workflow without a name or a function, are refused", () => {
  const one = workflow("order", () => 1);
  assert.throws(() => createRunner([one, one]), /two workflows are named 'order'/);
  assert.throws(() => workflow("", () => 1), /must be a string that is not empty/);
  assert.throws(() => workflow("order", 5 as never), /needs a function/);
});
