/** An answer as a stream: NDJSON, each line as it is made, no faster than it is read. */
import { hop } from "./hop.js";
import type { Line } from "./lines.js";

export const NDJSON = "application/x-ndjson";

/** So much is made ahead of who reads; beyond it the workflow waits. */
const AHEAD_BYTES = 16 * 1024;
/** So many hops later a line is no longer made in the same breath. */
const BREATH = 3;

/**
 * The lines as texts for the network, each as soon as it is made; lines made in one breath, one right after the other, go together.
 * After each while without one a blank line, so that nobody between takes the connection for dead.
 */
export async function* written(lines: AsyncGenerator<Line, void, void>, everyMs: number): AsyncGenerator<string, void, void> {
  let next = lines.next();
  try {
    for (;;) {
      const result = await unlessSilent(next, everyMs);
      if (result === null) {
        yield "\n";
        continue;
      }
      if (result.done === true) return;
      let text = `${result.value.text}\n`;
      next = lines.next();
      while (text.length < AHEAD_BYTES) {
        const more = await atOnce(next);
        if (more === null || more.done === true) break;
        text += `${more.value.text}\n`;
        next = lines.next();
      }
      yield text;
    }
  } finally {
    // Not awaited: the turn ends when its step does, or at once when it is told to stop.
    Promise.all([next, lines.return()]).catch(() => undefined);
  }
}

/** What comes without waiting for the world outside: a step that awaits nothing takes a hop or two. */
async function atOnce<T>(next: Promise<T>): Promise<T | null> {
  let found: T | null = null;
  // What has failed is told at the next look.
  next.then((result) => (found = result), () => undefined);
  for (let count = 0; count < BREATH && found === null; count += 1) await hop();
  return found;
}

async function unlessSilent<T>(next: Promise<T>, ms: number): Promise<T | null> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<null>((resolve) => (timer = setTimeout(resolve, ms, null)));
  try {
    return await Promise.race([next, silence]);
  } finally {
    clearTimeout(timer);
  }
}

/** A body for a Response; `onCancel` is called when who reads it has gone. */
export function readable(chunks: AsyncGenerator<string, void, void>, onCancel: () => void): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream(
    {
      async pull(controller) {
        const { done, value } = await chunks.next();
        if (done === true) controller.close();
        else controller.enqueue(encoder.encode(value));
      },
      async cancel() {
        onCancel();
        await chunks.return();
      },
    },
    { highWaterMark: AHEAD_BYTES, size: (chunk) => chunk?.byteLength ?? 0 },
  );
}

/** Whether an `accept` header names the content type, and not with a weight of 0. */
export function accepts(header: string | null | undefined, type: string): boolean {
  return (header ?? "").split(",").some((part) => {
    const [range = "", ...parameters] = part.split(";").map((text) => text.trim().toLowerCase());
    return range === type && !parameters.some((parameter) => /^q=0(?:\.0*)?$/.test(parameter));
  });
}
