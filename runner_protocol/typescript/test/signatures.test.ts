import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import { createRunner, workflow } from "../src/index.js";
import { type SignatureHeaders, signatureCheck } from "../src/signatures.js";
import { request } from "./engine.js";

// Published with the reference implementations of Standard Webhooks.
const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ANOTHER = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;
const SIGNED_AT = 1614265330;
const BODY = new TextEncoder().encode('{"test": 2432232314}');
const HEADERS = { id: "msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp: String(SIGNED_AT), signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" };
const DESCRIBE = '{"protocol":2,"mode":"describe"}';

const one = workflow("order", (_, { step }) => step("a", () => 1));

function check(headers: SignatureHeaders, body: Uint8Array = BODY, { secrets = [SECRET], nowS = SIGNED_AT } = {}): Promise<void> {
  return signatureCheck(secrets)!(headers, body, nowS * 1000);
}

function signed(body: string, { secret = SECRET, lateS = 0 } = {}): Record<string, string> {
  const timestamp = String(Math.floor(Date.now() / 1000) - lateS);
  const key = Buffer.from(secret.slice("whsec_".length), "base64");
  const signature = createHmac("sha256", key).update(`m1.${timestamp}.${body}`).digest("base64");
  return { "webhook-id": "m1", "webhook-timestamp": timestamp, "webhook-signature": `v1,${signature}` };
}

test("the published vector is accepted, with and without the secret's prefix", async () => {
  await check(HEADERS);
  await check(HEADERS, BODY, { secrets: [SECRET.slice("whsec_".length)] });
});

test("a signature is good for five minutes either way", async () => {
  for (const lateS of [0, 299, -299]) await check(HEADERS, BODY, { nowS: SIGNED_AT + lateS });
  for (const lateS of [301, -301]) await assert.rejects(check(HEADERS, BODY, { nowS: SIGNED_AT + lateS }), /look at both clocks/);
});

test("each bit of all that is signed counts", async () => {
  for (let bit = 0; bit < 8 * BODY.length; bit += 1) {
    const body = Uint8Array.from(BODY);
    body[bit >> 3]! ^= 1 << (bit & 7);
    await assert.rejects(check(HEADERS, body));
  }
  for (const name of ["id", "timestamp", "signature"] as const) {
    for (let bit = 0; bit < 7 * HEADERS[name].length; bit += 1) {
      const letters = Buffer.from(HEADERS[name], "latin1");
      letters[Math.floor(bit / 7)]! ^= 1 << (bit % 7);
      await assert.rejects(check({ ...HEADERS, [name]: letters.toString("latin1") }), `${name} ${bit}`);
    }
  }
});

test("one of several secrets and one of several signatures are enough", async () => {
  await check({ ...HEADERS, signature: `v1a,bm8= v1,bm8= ${HEADERS.signature}` }, BODY, { secrets: [ANOTHER, SECRET] });
  await assert.rejects(check(HEADERS, BODY, { secrets: [ANOTHER] }), /no signature of it/);
});

test("a header that is missing or empty is named", async () => {
  for (const name of ["id", "timestamp", "signature"] as const) {
    await assert.rejects(check({ ...HEADERS, [name]: null }), new RegExp(`webhook-${name} is missing`));
    await assert.rejects(check({ ...HEADERS, [name]: "" }), new RegExp(`webhook-${name} is empty`));
  }
});

test("secrets that are none are refused when the runner is made, and not shown", () => {
  for (const secrets of [[], ["changeme"], [SECRET, "whsec_c2hvcnQ="], [`whsec_${"A".repeat(200)}`], ["ä"], [7]]) {
    assert.throws(
      () => createRunner([one], { secrets: secrets as string[] }),
      (error: Error) => error instanceof TypeError && !/changeme|c2hvcnQ/.test(error.message),
    );
  }
});

test("a runner with secrets answers signed requests, and 401 to all others, over fetch and over HTTP", async () => {
  const runner = createRunner([one], { secrets: [ANOTHER, SECRET] });
  const server = await runner.serve(0);
  const doors = [
    (body: string, headers: Record<string, string>) => fetch(server.url, { method: "POST", body, headers }),
    (body: string, headers: Record<string, string>) => runner.fetch(new Request("http://runner/run", { method: "POST", body, headers })),
  ];
  const turn = JSON.stringify(request({ input: null }));
  try {
    for (const ask of doors) {
      for (const body of [turn, DESCRIBE]) {
        const answered = await ask(body, signed(body));
        assert.equal(answered.status, 200);
        assert.ok("action" in ((await answered.json()) as object));
        for (const headers of [{}, signed(`${body} `), signed(body, { secret: `whsec_${"B".repeat(32)}` }), signed(body, { lateS: 310 }), signed(body, { lateS: -310 })]) {
          const refused = await ask(body, headers);
          assert.equal(refused.status, 401);
          assert.match(((await refused.json()) as { error: string }).error, /^this runner answers signed requests only: /);
        }
      }
      assert.equal((await ask("no JSON", {})).status, 401);
    }
  } finally {
    await server.close();
  }
});

test("the environment may have the secrets", async () => {
  process.env["PYLON_WORKFLOW_RUNNER_SECRETS"] = `${ANOTHER}, ${SECRET}`;
  try {
    const { fetch } = createRunner([one]);
    const ask = (headers: Record<string, string>) => fetch(new Request("http://runner/run", { method: "POST", body: DESCRIBE, headers }));
    assert.equal((await ask({})).status, 401);
    assert.equal((await ask(signed(DESCRIBE))).status, 200);
    process.env["PYLON_WORKFLOW_RUNNER_SECRETS"] = "changeme";
    assert.throws(() => createRunner([one]), /PYLON_WORKFLOW_RUNNER_SECRETS: secret number 1 is none/);
  } finally {
    delete process.env["PYLON_WORKFLOW_RUNNER_SECRETS"];
  }
});
