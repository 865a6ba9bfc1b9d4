/** A process of its own: a workflow lets a branch fail that it does not await (server.test.ts looks at the exit code). */
import assert from "node:assert/strict";
import { createRunner, workflow } from "../src/index.js";
import { record, records, request } from "./engine.js";

const runner = createRunner([
  workflow("order", async (_, { step }) => {
    const branch = async (): Promise<unknown> => {
      const output = await step("a", () => 1);
      throw new Error(`unexpected ${output}`);
    };
    void branch();
    await step("b", () => 2);
    return "done";
  }),
]);

const server = await runner.serve(0);
const first = process.argv[2] === "step" ? record("a", { status: "failed", final: true, error: "no" }) : record("a");
const body = JSON.stringify(request(records(first, record("b"))));
const response = await fetch(server.url, { method: "POST", body });
assert.deepEqual(await response.json(), { action: "complete", output: "done" });
await server.close();
process.exit(0);
