/** `node dist/runner.js [--port N] [--no-stream]`: the TypeScript kit's runner for the conformance checker. */
import { parseArgs } from "node:util";
import { createRunner } from "@pylon-workflows/runner";
import { workflows } from "./workflows.js";

const { values } = parseArgs({ options: { port: { type: "string", default: "0" }, "no-stream": { type: "boolean", default: false } } });
const server = await createRunner(workflows, { stream: !values["no-stream"] }).serve(Number(values.port), { host: "127.0.0.1" });
console.log(`runner listening on ${server.url}`);
