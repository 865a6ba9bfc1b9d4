// A runner without a kit, in plain JavaScript: what "any language" costs. `node examples/plain_node/runner.mjs [--port 9876]`
import { createServer } from "node:http";
import { parseArgs } from "node:util";

// A workflow yields what it wants, one thing at a time; each has a key of its own, because no name is used twice.
const step = (key, run) => ({ key, act: () => attempt(key, run) });
const sleep = (duration) => ({ key: "sleep", act: () => ({ action: "sleep", key: "sleep", duration }) });
const event = (name) => ({ key: `event:${name}`, act: () => ({ action: "wait_event", key: `event:${name}`, event: name }) });

function* plain({ n }) {
  const doubled = yield step("double", () => (Number.isInteger(n) ? n * 2 : Promise.reject(new TypeError("n is not a number"))));
  yield sleep("1s");
  const go = yield event("go");
  const total = yield step("add", () => doubled + go.n);
  return { total };
}
const workflows = { plain };

async function attempt(key, run) {
  try {
    return { action: "step_complete", step_name: key, key, output: await run() };
  } catch (error) {
    return { action: "fail", step_name: key, key, error: error.message, on_exhausted: "throw" };
  }
}

// Replay: hand out the records that took a position, in their order; then do the first thing that has none.
function advance({ workflow_name, input, completed_steps }) {
  if (!Object.hasOwn(workflows, workflow_name)) return { action: "defer", retry_after: "5s", reason: `unknown workflow '${workflow_name}'` };
  const code = workflows[workflow_name](input ?? {});
  try {
    let wanted = code.next();
    for (const { key, position, status, output, error } of completed_steps.filter((record) => record.position !== null)) {
      const got = wanted.done ? "the end of the workflow" : wanted.value.key;
      if (got !== key) return { action: "diverged", position, expected: key, got };
      wanted = status === "failed" ? code.throw(new Error(error)) : code.next(output);
    }
    return wanted.done ? { action: "complete", output: wanted.value } : wanted.value.act();
  } catch (error) {
    return { action: "fail", error: String(error), retryable: false };
  }
}

const server = createServer(async (request, response) => {
  const answer = (status, body, headers) => response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
  if (request.method !== "POST") return answer(405, { error: "POST only" }, { allow: "POST" });
  try {
    const body = JSON.parse(Buffer.concat(await request.toArray()).toString());
    if (!Array.isArray(body?.completed_steps)) throw new Error("completed_steps must be a list");
    answer(200, await advance(body));
  } catch (error) {
    answer(400, { error: String(error) });
  }
});

const { values } = parseArgs({ options: { port: { type: "string" } } });
const { hostname, port } = new URL(process.env.PYLON_WORKFLOW_RUNNER_URL || "http://127.0.0.1:9876/run");
server.listen(Number(values.port ?? port), hostname, () => console.log(`runner listening on http://${hostname}:${server.address().port}/run`));
