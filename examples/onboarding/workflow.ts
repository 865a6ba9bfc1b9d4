/** A new user is welcomed, given a day, and has a week to confirm. The Python twin does exactly the same. */
import { appendFileSync } from "node:fs";
import { type StepContext, workflow } from "@pylon-workflows/runner";

interface NewUser {
  user: string;
  /** The first welcome mail fails, to show a retry. */
  flaky?: boolean;
  pause?: string;
}

export const onboarding = workflow<NewUser>("onboarding", async (ctx, { step, sleep, waitForEvent }) => {
  const { user, flaky, pause } = ctx.input;
  const noteExecution = ({ key, attempt, idempotencyKey }: StepContext): void =>
    note({ workflow_id: ctx.workflowId, key, attempt, idempotency_key: idempotencyKey });

  const { account } = await step("create_account", (attempt) => {
    noteExecution(attempt);
    return { account: `acct_${user}` };
  });
  await step("send_welcome", (attempt) => {
    noteExecution(attempt);
    if (flaky === true && attempt.attempt === 1) throw new Error("mail server said no");
    return { sent_to: user };
  });
  await sleep(pause || "24h");
  const confirmation = await waitForEvent("user_confirmed", { timeout: "7d" });
  if (confirmation === null) {
    await step("expire", (attempt) => {
      noteExecution(attempt);
      return { expired: true };
    });
    return { account, status: "expired", confirmation };
  }
  await step("activate", (attempt) => {
    noteExecution(attempt);
    return { activated: true, confirmed_by: confirmation };
  });
  return { account, status: "active", confirmation };
});

/** Appends a line to the log, if one is wanted: it shows which step bodies really ran, and how often. */
function note(line: object): void {
  const path = process.env["ONBOARDING_LOG"];
  if (path) appendFileSync(path, `${JSON.stringify(line)}\n`);
}
