import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import type { Action } from "../src/index.js";
import { drive, record, records, request } from "./engine.js";

const root = new URL("../../", import.meta.url);
const folder = new URL("build/readme/", root);

/** Writes the README's code to files of the names it gives, compiles them as a user would, and returns what is wrong. */
async function compileReadme(): Promise<string[]> {
  const readme = await readFile(new URL("README.md", root), "utf8");
  const blocks = [...readme.matchAll(/```ts\n\/\/ (\w+\.ts)\n(.*?)```/gs)];
  assert.equal(blocks.length, readme.split("```ts").length - 1);
  await mkdir(folder, { recursive: true });
  const files = await Promise.all(
    blocks.map(async ([, name, code]) => {
      const file = fileURLToPath(new URL(name ?? "", folder));
      await writeFile(file, code ?? "");
      return file;
    }),
  );
  const program = ts.createProgram(files, {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    types: ["node"],
    typeRoots: [fileURLToPath(new URL("node_modules/@types", root))],
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: true,
  });
  return [...ts.getPreEmitDiagnostics(program), ...program.emit().diagnostics].map(({ messageText }) =>
    ts.flattenDiagnosticMessageText(messageText, "\n"),
  );
}

test("the README's code compiles and does what the README says", async () => {
  assert.deepEqual(await compileReadme(), []);
  // The README's code imports the package itself, which is the copy in dist.
  const kit = await import(new URL("dist/index.js", root).href);
  const { order } = await import(new URL("order.js", folder).href);
  const shipped = await drive(order, { kit, input: { id: "o1", amount: 5 }, events: { shipped: [{ tracking: "t1" }] } });
  assert.deepEqual(shipped.end, { action: "complete", output: { status: "shipped" } });
  assert.deepEqual(shipped.records.map(({ key }) => key), ["charge", "sleep", "event:shipped", "notify", "notify#2"]);
  const late = await drive(order, { kit, input: { id: "o1", amount: 5 } });
  assert.deepEqual(late.end, { action: "complete", output: { status: "refunded" } });
  const declined = await drive(order, { kit, input: { id: "o1", amount: 5000 } });
  assert.deepEqual(declined.end, { action: "complete", output: { status: "declined", reason: "card declined" } });
  assert.equal(declined.records.length, 6);

  const mounted = await import(new URL("fetch.js", folder).href);
  assert.equal(mounted.default.fetch, mounted.POST);
  const body = JSON.stringify(request({ input: { id: "o1", amount: 5 } }));
  const response: Response = await mounted.POST(new Request("http://runner/run", { method: "POST", body }));
  assert.equal(((await response.json()) as { action: string }).action, "step_complete");
});

test("the README's helpers do what the README says", async () => {
  assert.deepEqual(await compileReadme(), []);
  const { release } = await import(new URL("release.js", folder).href);
  assert.equal(release.version, "2");
  const kit = (await import(new URL("dist/index.js", root).href)) as typeof import("../src/index.js");
  const actions: Action[] = [];
  // No remote is asked: this one is a folder that is not there.
  const asked = request({ workflow_name: "release", workflow_version: "2", input: { repository: "/nowhere", packages: ["a"] } });
  for await (const action of kit.createRunner([release]).stream(asked)) actions.push(action);
  const [start, fail] = actions;
  assert.deepEqual(start, { action: "step_start", step_name: "version", key: "version", timeout: "1m" });
  assert.ok(fail?.action === "fail");
  assert.deepEqual([fail.key, fail.noted, fail.vars], ["version", 1, { stage: "build" }]);
  const version = record("version", { kind: "shell", output: { stdout: "abcdef0123", stderr: "", exit_code: 0 } });
  const group = await kit.createRunner([release]).handleRequest({ ...asked, noted: 1, ...records(version) });
  assert.ok(group.action === "map");
  assert.deepEqual([group.key, group.items, group.max_in_flight, group.fail_fast, group.after], ["build", ["a"], 4, true, 1]);
});
