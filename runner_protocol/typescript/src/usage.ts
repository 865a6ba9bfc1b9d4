/** What something cost, summed exactly: money is a decimal text on the wire and never a double in between. */
import type { Usage } from "./messages.js";

/** What an author says that something has cost. */
export interface Spent {
  /** Dollars: a decimal text such as `"0.0123"`, or a number, taken as it is printed. */
  costUsd?: string | number | undefined;
  inputTokens?: number | undefined;
  outputTokens?: number | undefined;
}

const COST = /^([0-9]{1,15})(?:\.([0-9]{1,18}))?$/;
const PLACES = 18;

/** A sum of costs and tokens. */
export class UsageSum {
  /** In units of 10^-18 dollars. */
  #cost = 0n;
  #inputTokens = 0;
  #outputTokens = 0;

  /** Throws RangeError or TypeError for what is no cost or no count, and then adds nothing. */
  add({ costUsd = 0, inputTokens = 0, outputTokens = 0 }: Spent): void {
    const cost = this.#cost + readCost(costUsd);
    const input = this.#inputTokens + readCount("inputTokens", inputTokens);
    const output = this.#outputTokens + readCount("outputTokens", outputTokens);
    [this.#cost, this.#inputTokens, this.#outputTokens] = [cost, input, output];
  }

  addAll(other: UsageSum): void {
    this.#cost += other.#cost;
    this.#inputTokens += other.#inputTokens;
    this.#outputTokens += other.#outputTokens;
  }

  written(): Usage {
    return {
      ...(this.#cost === 0n ? {} : { cost_usd: writeCost(this.#cost) }),
      ...(this.#inputTokens === 0 ? {} : { input_tokens: this.#inputTokens }),
      ...(this.#outputTokens === 0 ? {} : { output_tokens: this.#outputTokens }),
    };
  }
}

function readCost(value: unknown): bigint {
  const text = typeof value === "number" ? plain(value) : value;
  const [, whole, places = ""] = (typeof text === "string" && COST.exec(text)) || [];
  if (whole === undefined) {
    throw new RangeError(
      `usage: costUsd must be dollars of 0 or more, with at most 15 digits before the point and 18 after it, such as "0.0123", not ${String(value).slice(0, 60)}`,
    );
  }
  return BigInt(whole + places.padEnd(PLACES, "0"));
}

/** A number without an exponent, digit for digit as JavaScript prints it. */
function plain(value: number): string {
  const [, digits = "", exponent = ""] = /^([0-9.]+)e-([0-9]+)$/.exec(String(value)) ?? [];
  return exponent === "" ? String(value) : `0.${"0".repeat(Number(exponent) - 1)}${digits.replace(".", "")}`;
}

function writeCost(cost: bigint): string {
  const text = cost.toString().padStart(PLACES + 1, "0");
  const places = text.slice(-PLACES).replace(/0+$/, "");
  return text.slice(0, -PLACES) + (places === "" ? "" : `.${places}`);
}

function readCount(what: string, value: unknown): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) {
    throw new RangeError(`usage: ${what} must be a whole number, 0 or more, not ${String(value).slice(0, 60)}`);
  }
  return value as number;
}
