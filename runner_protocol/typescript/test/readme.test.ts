import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { drive, request } from "./engine.js";

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
