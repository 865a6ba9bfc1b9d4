/** `ctx.shell`: a command as a step. Node's child processes (Bun and Deno have them too); never through a shell. */
import { type ChildProcess, spawn } from "node:child_process";
import type { StepContext, StepOptions } from "./options.js";

export interface ShellOptions extends StepOptions {
  /** The folder to run it in; the runner's own unless given. */
  cwd?: string | undefined;
  /** Added to the runner's environment, and never recorded: it may hold secrets. */
  env?: Record<string, string> | undefined;
  /** What it reads; nothing unless given. */
  input?: string | undefined;
  /** The statuses that are no failure; 0 unless given. */
  ok?: readonly number[] | undefined;
}

export type Command = readonly [string, ...string[]];

/** What a command wrote and how it ended; bytes that are no UTF-8 are replaced by U+FFFD. */
export interface ShellResult {
  stdout: string;
  stderr: string;
  exit_code: number;
}

/** A command has failed; `code` is its status, null for one that a signal ended, `data` the ends of what it wrote. */
class CommandError extends Error {
  override readonly name = "CommandError";

  constructor(
    message: string,
    readonly code: number | null = null,
    readonly data: unknown = undefined,
  ) {
    super(message);
  }
}

const MAX_OUTPUT_BYTES = 1024 * 1024;
const SHOWN = 1000;
/** So long a command that is told to stop may take to end by itself, after SIGTERM. */
const GRACE_MS = 2000;
const HAS_GROUPS = process.platform !== "win32";

/** Runs the command to its end; told to stop, it is killed with all the processes of its group. Throws CommandError. */
export async function runCommand(command: Command, { cwd, env, input = "", ok = [0] }: ShellOptions, { signal }: StepContext): Promise<ShellResult> {
  const [program, ...args] = command;
  const child = spawn(program, args, {
    shell: false,
    detached: HAS_GROUPS,
    windowsHide: true,
    ...(cwd === undefined ? {} : { cwd }),
    ...(env === undefined ? {} : { env: { ...process.env, ...env } }),
  });
  let grace: ReturnType<typeof setTimeout> | undefined;
  const stop = (): void => {
    kill(child, "SIGTERM");
    grace = setTimeout(kill, GRACE_MS, child, "SIGKILL");
  };
  signal.addEventListener("abort", stop);
  try {
    // A command need not read its input.
    child.stdin.on("error", () => undefined).end(input);
    const [stdout, stderr, [status, ended]] = await Promise.all([read(child, child.stdout), read(child, child.stderr), exit(child)]);
    if (status !== null && ok.includes(status)) return { stdout, stderr, exit_code: status };
    const how = status === null ? `was ended by ${ended}` : `exited with ${status}`;
    const said = (stderr.trim() || stdout.trim()).slice(-SHOWN);
    const data = { stdout: stdout.slice(-SHOWN), stderr: stderr.slice(-SHOWN), exit_code: status };
    throw new CommandError(`'${program}' ${how}${said === "" ? "" : `: ${said}`}`, status, data);
  } finally {
    clearTimeout(grace);
    signal.removeEventListener("abort", stop);
  }
}

function exit(child: ChildProcess): Promise<[number | null, string | null]> {
  return new Promise((resolve, reject) => {
    child.once("error", (error: NodeJS.ErrnoException) => {
      const reason = error.code === "ENOENT" ? "there is no such program, or no such folder to run it in" : error.message;
      reject(new CommandError(`'${child.spawnfile}' cannot be run: ${reason}`));
    });
    child.once("exit", (status, ended) => {
      // What it has left running would keep its pipes open.
      kill(child, "SIGKILL");
      resolve([status, ended]);
    });
  });
}

async function read(child: ChildProcess, pipe: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of pipe) {
    size += chunk.length;
    if (size > MAX_OUTPUT_BYTES) {
      kill(child, "SIGKILL");
      throw new CommandError(`'${child.spawnfile}' wrote more than ${MAX_OUTPUT_BYTES} bytes; let it write a file`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function kill(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    // Its own group: see `detached`.
    if (HAS_GROUPS) process.kill(-child.pid, signal);
    else child.kill(signal);
  } catch {
    // It has ended already.
  }
}
