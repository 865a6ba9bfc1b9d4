// A runner made with the TypeScript kit: the workflow of kit_runner.py. Prints its URL, ends with its standard input.
import { createRunner, workflow } from "../runner_protocol/typescript/dist/index.js";

const STEPS = 100;

const name = process.argv[2];

const order = workflow(name, async (_, { step }) => {
  for (let number = 0; number < STEPS; number += 1) await step("charge", () => ({ id: "ch_1", amount: 4200 }));
  return { done: true };
});

const server = await createRunner([order]).serve(0);
console.log(server.url);
process.stdin.on("end", () => process.exit(0)).resume();
