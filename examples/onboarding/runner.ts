/** `node examples/onboarding/dist/runner.js [--port 9876] [--log FILE]`: serve the onboarding workflow. */
import { parseArgs } from "node:util";
import { createRunner } from "@pylon-workflows/runner";
import { onboarding } from "./workflow.js";

const { values } = parseArgs({ options: { port: { type: "string" }, log: { type: "string" } } });
if (values.log !== undefined) process.env["ONBOARDING_LOG"] = values.log;

const port = values.port === undefined ? undefined : Number(values.port);
const server = await createRunner([onboarding]).serve(port);
console.log(`runner listening on ${server.url}`);

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void server.close());
