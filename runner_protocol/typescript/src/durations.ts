/** Durations as the wire writes them (PROTOCOL.md section 2): `30s` `1h30m` `1.5s` `PT5M`, or a number of seconds. */

/** `"24h"`, `"1h30m"`, `"PT5M"`, or a number of seconds. */
export type Duration = string | number;

/** The value is no duration that the wire knows; the message says which rule it breaks. */
export class DurationError extends RangeError {
  override readonly name = "DurationError";
}

/** A hundred years, in seconds. */
export const MAX_DURATION_S = 36_525 * 86_400;

const UNIT_S = [604_800, 86_400, 3_600, 60, 1, 0.001] as const;
const NUMBER = "[0-9]{1,18}(?:\\.[0-9]{1,9})?";
const BARE = new RegExp(`^${NUMBER}$`);
const PARTS = new RegExp(`^${["w", "d", "h", "m(?!s)", "s", "ms"].map((unit) => `(?:(${NUMBER})${unit})?`).join("")}$`);
const ISO = new RegExp(
  `^P(?:(${NUMBER})W)?(?:(${NUMBER})D)?(?:T(?=[0-9])(?:(${NUMBER})H)?(?:(${NUMBER})M)?(?:(${NUMBER})S)?)?$`,
);

/** Reads a duration as seconds. Throws DurationError for whatever PROTOCOL.md section 2 does not list. */
export function parseDuration(value: Duration): number {
  if (typeof value === "number") return withinLimits(value, String(value));
  if (typeof value !== "string") {
    throw new DurationError(`a duration is a text such as "24h" or a number of seconds, not ${typeof value}`);
  }
  const text = value.trim();
  if (BARE.test(text)) return withinLimits(Number(text), value);
  const parts = (PARTS.exec(text) ?? ISO.exec(text))?.slice(1) ?? [];
  if (parts.every((part) => part === undefined)) {
    throw new DurationError(
      `${JSON.stringify(value.slice(0, 40))} is no duration; write 30s, 5m, 24h, 7d, 2w, 500ms, 1h30m, PT5M or seconds`,
    );
  }
  return withinLimits(
    parts.reduce((sum, part, index) => sum + Number(part ?? 0) * (UNIT_S[index] ?? 0), 0),
    value,
  );
}

/** Checks a duration and writes it for the wire: a text as it is but for spaces around it, a number as `90s`. */
export function wireDuration(value: Duration): string {
  const seconds = parseDuration(value);
  // Number's own notation would give 1e-7 for a small one, which the grammar does not know.
  return typeof value === "string" ? value.trim() : `${seconds.toFixed(9).replace(/\.?0+$/, "")}s`;
}

function withinLimits(seconds: number, shown: string): number {
  if (Number.isNaN(seconds)) throw new DurationError("a duration must be a number, not NaN");
  if (seconds < 0) throw new DurationError(`a duration must not be negative: ${shown}`);
  if (seconds > MAX_DURATION_S) throw new DurationError(`a duration must be at most 100 years: ${shown.slice(0, 40)}`);
  return seconds;
}
