/** `ctx.shell`: a command as a step. Node's child processes (Bun and Deno have them too); never through a shell. */
import { type ExecFileException, execFile } from "node:child_process";
import type { StepContext, StepOptions } from "./options.js";

export interface ShellOptions extends StepOptions {
  /** The folder to run it in; the runner's own unless given. */
  cwd?: string | undefined;
  /** Added to the runner's environment, and never recorded: it may hold secrets. */
  env?: Record<string, string> | undefined;
}

export interface ShellResult {
  stdout: string;
  stderr: string;
  exit_code: number;
}

const MAX_OUTPUT_BYTES = 1024 * 1024;
const SHOWN = 500;

/** Runs the command to its end; it is killed when the step's signal is aborted. Throws for a status other than 0. */
export async function runCommand(name: string, command: readonly [string, ...string[]], options: ShellOptions, step: StepContext): Promise<ShellResult> {
  const [program, ...args] = command;
  const { cwd, env } = options;
  const settings = {
    signal: step.signal,
    killSignal: "SIGKILL",
    maxBuffer: MAX_OUTPUT_BYTES,
    shell: false,
    ...(cwd === undefined ? {} : { cwd }),
    ...(env === undefined ? {} : { env: { ...process.env, ...env } }),
  } as const;
  return await new Promise((resolve, reject) => {
    const child = execFile(program, args, settings, (error, stdout, stderr) => {
      if (error === null) resolve({ stdout, stderr, exit_code: 0 });
      else reject(failure(name, program, error, stdout, stderr));
    });
    // A command that reads its input finds none, in place of waiting for it.
    child.stdin?.on("error", () => undefined).end();
  });
}

function failure(name: string, program: string, error: ExecFileException, stdout: string, stderr: string): Error {
  const what = `the command '${program}' of the step '${name}'`;
  const { code } = error;
  if (typeof code === "number") {
    const said = stderr.trim().slice(-SHOWN);
    return Object.assign(new Error(`${what} ended with status ${code}${said === "" ? "" : `: ${said}`}`), { data: { exit_code: code, stdout: stdout.slice(-SHOWN), stderr: said } });
  }
  if (code === "ERR_CHILD_PROCESS_STDIO_MAXBUFFER") return new Error(`${what} wrote more than ${MAX_OUTPUT_BYTES} bytes`);
  if (code === "ENOENT") return new Error(`${what} cannot be run: there is no such program (or the folder to run it in is missing)`);
  if (error.signal !== null && error.signal !== undefined) return new Error(`${what} was ended by ${error.signal}`);
  return new Error(`${what} cannot be run: ${error.message}`);
}
