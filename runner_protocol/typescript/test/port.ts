/** A process of its own: serves on a port that is taken (server.test.ts looks at what it says). */
import { createRunner, workflow } from "../src/index.js";

const runner = createRunner([workflow("order", () => 1)]);
const port = Number(process.argv[3]);
if (process.argv[2] === "caught") await runner.serve(port).catch((error: Error) => console.error(`caught: ${error.message}`));
else if (process.argv[2] === "awaited") await runner.serve(port);
else void runner.serve(port);
