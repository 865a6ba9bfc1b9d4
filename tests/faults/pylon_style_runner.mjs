// A version-1 runner as pylon's users have it: `node pylon_style_runner.mjs [--idle-ms 10000]`.
// It replays by name and by index against current_step, knows no keys, answers 405 to GET and 500 with a `fail` body,
// and closes a connection on which nothing has happened for a while, whatever the other side still means to send.
import { createServer } from "node:http";
import { parseArgs } from "node:util";

class Paused extends Error {}

const tries = new Map();

const workflows = {
  async order({ id, input }, { step, sleep, waitForEvent }) {
    const receipt = await step("charge", async () => {
      tries.set(id, (tries.get(id) ?? 0) + 1);
      if (input.flaky && tries.get(id) === 1) throw new Error("card reader is asleep");
      return `receipt of ${id}`;
    });
    const pages = [];
    for (let page = 1; page <= 3; page += 1) pages.push(await step("page", async () => page));
    await sleep(input.pause);
    const paid = await waitForEvent("paid");
    const shipped = await step("ship", async () => ({ to: paid.by }));
    return { receipt, pages, paid, shipped };
  },
  async broken() {
    throw new Error("out of order");
  },
};

async function advance(request) {
  const { workflow_id: id, workflow_name: name, input, current_step, completed_steps } = request;
  if (!(name in workflows)) return { action: "fail", error: `Unknown workflow: ${name}` };
  const used = new Map();
  let index = 0;
  let answer = null;

  const recorded = (recordName) => {
    const number = used.get(recordName) ?? 0;
    used.set(recordName, number + 1);
    return completed_steps.filter((record) => record.name === recordName && record.status === "completed")[number];
  };
  const pause = (action) => {
    answer = action;
    throw new Paused();
  };
  const step = async (stepName, run) => {
    const record = recorded(stepName);
    if (index++ < current_step) return record.output;
    const began = Date.now();
    let output;
    try {
      output = await run();
    } catch (error) {
      answer = { action: "fail", step_name: stepName, error: error.message };
      throw error;
    }
    return pause({ action: "step_complete", step_name: stepName, output, duration_ms: Date.now() - began });
  };
  const sleep = async (duration) => (index++ < current_step ? undefined : pause({ action: "sleep", duration }));
  const waitForEvent = async (event) => {
    const record = recorded(`event:${event}`);
    return index++ < current_step ? record.output : pause({ action: "wait_event", event });
  };

  try {
    const output = await workflows[name]({ id, input }, { step, sleep, waitForEvent });
    return { action: "complete", output };
  } catch (error) {
    if (answer === null) throw error;
    return answer;
  }
}

const server = createServer(async (request, response) => {
  const send = (status, body) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  if (request.method !== "POST") return send(405, { error: "Method not allowed" });
  try {
    const answer = await advance(JSON.parse(Buffer.concat(await request.toArray()).toString()));
    console.log(`turn ${answer.action}`);
    return send(answer.action === "fail" ? 500 : 200, answer);
  } catch (error) {
    console.log("turn failed");
    return send(500, { action: "fail", error: error.message });
  }
});

const { values } = parseArgs({ options: { "idle-ms": { type: "string", default: "10000" } } });
server.keepAliveTimeout = 0; // Node would announce its own in a header; this one closes without a word
server.on("connection", (socket) => {
  socket.setTimeout(Number(values["idle-ms"]), () => {
    console.log("closed an idle connection");
    socket.destroy();
  });
  socket.on("error", () => {});
});
server.listen(0, "127.0.0.1", () => console.log(`runner listening on http://127.0.0.1:${server.address().port}/run`));
