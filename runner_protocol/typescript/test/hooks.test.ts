import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import { createRunner, workflow, type WorkflowContext } from "../src/index.js";
import { hmacSha256 } from "../src/sha256.js";
import { record, records, request } from "./engine.js";

const HOOKS = { base_url: "https://app.example/hooks", key: "0123456789abcdef".repeat(4) };

const pay = workflow<string>("order", async (ctx) => {
  const url = ctx.hookUrl(ctx.input);
  const given = await ctx.step("order", () => ctx.hookUrl(ctx.input));
  assert.equal(given, url);
  return [url, await ctx.waitForHook(ctx.input, { timeout: "3d" })];
});
const { handleRequest } = createRunner([pay], { stream: false });

function signature(text: string): string {
  return createHmac("sha256", HOOKS.key).update(text).digest("hex");
}

async function urlOf(changes: object): Promise<string> {
  const action = await handleRequest(request({ input: "psp", hooks: HOOKS, ...changes }));
  return (action as { output: string }).output;
}

test("HMAC-SHA256 is that of node:crypto, for keys and messages of all lengths around a block", () => {
  for (const keyLength of [0, 1, 55, 63, 64, 65, 200]) {
    for (const length of [0, 1, 54, 55, 56, 63, 64, 65, 119, 120, 1000]) {
      const [key, message] = ["k".repeat(keyLength), "ä€😀x".repeat(300).slice(0, length)];
      assert.equal(hmacSha256(key, message), createHmac("sha256", key).update(message).digest("hex"), `${keyLength}, ${length}`);
    }
  }
});

test("HMAC-SHA256 passes test case 2 of RFC 4231", () => {
  assert.equal(hmacSha256("Jefe", "what do ya want for nothing?"), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
});

test("a hook's URL holds the instance, the name percent-encoded, and the signature of instance, run and name", async () => {
  for (const [name, part] of [["psp", "psp"], ["ä b", "%C3%A4%20b"], ["a?b&c=%.~!'()*", "a%3Fb%26c%3D%25.~%21%27%28%29%2A"]] as const) {
    assert.equal(await urlOf({ input: name }), `https://app.example/hooks/hook/wf_1/${part}/${signature(`wf_1:1:${name}`)}`);
  }
  assert.ok((await urlOf({ run: 3 })).endsWith(signature("wf_1:3:psp")));
});

test("a step hands out the URL, and the wait for it is that for the event hook:<name>", async () => {
  const url = await urlOf({});
  const waits = await handleRequest(request({ input: "psp", hooks: HOOKS, ...records(record("order", { output: url })) }));
  assert.deepEqual(waits, { action: "wait_event", event: "hook:psp", key: "event:hook:psp", after: 1, timeout: "3d" });
});

const PUT_OFF = {
  action: "defer",
  retry_after: "10s",
  reason: "hookUrl('psp'): the engine does not say where it is called from outside: start it with serve --hooks-url, PYLON_WORKFLOW_HOOKS_URL or EngineSettings(hooks_url=)",
};

async function streamed(code: (ctx: WorkflowContext) => Promise<unknown>): Promise<any[]> {
  const lines: any[] = [];
  for await (const action of createRunner([workflow("order", code)]).stream(request())) lines.push(action);
  return lines;
}

test("without hooks of the engine the turn is put off, also where records go on", async () => {
  for (const hooks of [undefined, null]) {
    assert.deepEqual(await handleRequest(request({ input: "psp", hooks })), PUT_OFF);
    assert.deepEqual(await handleRequest(request({ input: "psp", hooks, ...records(record("order")) })), PUT_OFF);
  }
});

test("without hooks a step's function puts the turn off too, and what runs beside it is kept", async () => {
  const lines = await streamed(async (ctx) => {
    ctx.set({ seen: 1 });
    await Promise.all([ctx.step("order", () => ctx.hookUrl("psp")), ctx.step("beside", () => new Promise((resolve) => setTimeout(resolve, 5)))]);
  });
  assert.deepEqual(lines.map(({ action, key }) => key ?? action), ["beside", "defer"]);
  assert.deepEqual(lines[1], PUT_OFF);
  const plain = workflow("order", async (ctx) => await ctx.step("order", () => (ctx.log.info("lost"), ctx.hookUrl("psp"))));
  assert.deepEqual(await createRunner([plain]).handleRequest(request()), PUT_OFF);
});

test("code that catches what hookUrl throws does nothing more in that turn", async () => {
  const lines = await streamed(async (ctx) => {
    const url = (() => {
      try {
        return ctx.hookUrl("psp");
      } catch {
        return null;
      }
    })();
    ctx.set({ url });
    await ctx.step("fallback", () => 1);
  });
  assert.deepEqual(lines, [PUT_OFF]);
});

test("a member of a group puts off its own call", async () => {
  const code = workflow("order", async (ctx) => await ctx.map("urls", ["psp"], (name: string) => ctx.hookUrl(name)));
  const member = { group: "urls", index: 0, total: 1, key: "urls[0]", name: "urls", input: "psp" };
  assert.deepEqual(await createRunner([code]).handleRequest(request({ mode: "run_step", member })), PUT_OFF);
});

test("a name that no URL can carry is refused", async () => {
  for (const name of ["", "a/b", "a#b", ".", "..", "x".repeat(124), "event:x", 7]) {
    const failed: any = await handleRequest(request({ input: name, hooks: HOOKS }));
    assert.equal(failed.error?.type, "NameError", String(name));
  }
});
