/** An answer as a stream: NDJSON, each line as it is made, no faster than it is read. */
import type { Line } from "./lines.js";

export const NDJSON = "application/x-ndjson";

/** So much is made ahead of who reads; beyond it the workflow waits. */
const AHEAD_BYTES = 16 * 1024;

/** The lines as text, and after each while without one a blank line, so that nobody between takes the connection for dead. */
export async function* withKeepAlives(lines: AsyncGenerator<Line, void, void>, everyMs: number): AsyncGenerator<string, void, void> {
  let next: Promise<IteratorResult<Line, void>> | null = null;
  try {
    for (;;) {
      next ??= lines.next();
      const result = await unlessSilent(next, everyMs);
      if (result === null) {
        yield "\n";
        continue;
      }
      next = null;
      if (result.done === true) return;
      yield `${result.value.text}\n`;
    }
  } finally {
    // Not awaited: the turn ends when its step does, or at once when it is told to stop.
    lines.return().catch(() => undefined);
  }
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
