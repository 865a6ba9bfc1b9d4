/** JSON that is lossless or refused: what a step returned is what every later replay sees. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** The value cannot be written as JSON without loss; the message names the place in it. */
export class JsonError extends TypeError {
  override readonly name = "JsonError";
}

/** How deep arrays and objects may nest; the engine refuses what is deeper. */
const MAX_DEPTH = 64;
const IDENTIFIER = /^[A-Za-z_$][\w$]*$/;

/**
 * A plain copy of `value` as JSON holds it. `undefined` becomes null (in an object it is left out), `toJSON` is obeyed.
 * Throws JsonError for what JSON loses or the engine refuses: NaN, infinity, bigint, whole numbers beyond 64 bits, functions, symbols,
 * cycles, half characters, objects whose content JSON does not see (Map, Set, Error, typed arrays...), depth beyond 64.
 */
export function toJson(value: unknown, what = "the value"): Json {
  try {
    return copy(value, "$", "", []);
  } catch (thrown) {
    if (thrown instanceof JsonError) throw new JsonError(`${what} is not lossless JSON: ${thrown.message}`);
    throw thrown;
  }
}

function copy(value: unknown, path: string, key: string, above: readonly object[]): Json {
  switch (typeof value) {
    case "undefined":
      return null;
    case "boolean":
      return value;
    case "string":
      if (!value.isWellFormed()) throw new JsonError(`${path} holds half a character (a lone surrogate)`);
      return value;
    case "number":
      return checkNumber(value, path);
    case "object":
      return value === null ? null : copyObject(value, path, key, above);
    default:
      throw new JsonError(`${path} is a ${typeof value}, which JSON does not have`);
  }
}

function checkNumber(value: number, path: string): number {
  if (!Number.isFinite(value)) throw new JsonError(`${path} is ${value}, which JSON does not have`);
  // From 1e21 on JavaScript writes an exponent, which every reader takes for a double.
  if ((value >= 2 ** 64 || value < -(2 ** 63)) && Math.abs(value) < 1e21) {
    throw new JsonError(`${path} is ${value}, a whole number that does not fit 64 bits`);
  }
  // JSON has one zero, and what a replay sees is what the first pass must have seen.
  return value === 0 ? 0 : value;
}

function copyObject(value: object, path: string, key: string, above: readonly object[]): Json {
  if (above.includes(value)) throw new JsonError(`${path} is a cycle: it contains itself`);
  if ("toJSON" in value && typeof value.toJSON === "function") {
    if (value instanceof Date && Number.isNaN(value.getTime())) throw new JsonError(`${path} is an invalid Date`);
    return copy(value.toJSON(key), path, key, [...above, value]);
  }
  if (above.length >= MAX_DEPTH) throw new JsonError(`${path} is nested deeper than ${MAX_DEPTH}`);
  const inside = [...above, value];
  if (Array.isArray(value)) return Array.from(value, (member, index) => copy(member, `${path}[${index}]`, `${index}`, inside));
  const entries = Object.entries(value).filter(([, member]) => member !== undefined);
  if (isOpaque(value, entries.length)) {
    throw new JsonError(`${path} is a ${kindOf(value)}, which JSON would lose; return plain data instead`);
  }
  // fromEntries defines properties, where an assignment to "__proto__" would set a prototype.
  return Object.fromEntries(
    entries.map(([name, member]) => {
      if (!name.isWellFormed()) throw new JsonError(`a key of ${path} holds half a character (a lone surrogate)`);
      const inner = IDENTIFIER.test(name) ? `${path}.${name}` : `${path}[${JSON.stringify(name)}]`;
      return [name, copy(member, inner, name, inside)];
    }),
  );
}

/** Whether JSON sees nothing, or the wrong thing, of this object. */
function isOpaque(value: object, visible: number): boolean {
  if (value instanceof Error || ArrayBuffer.isView(value)) return true;
  const prototype: unknown = Object.getPrototypeOf(value);
  // Another realm's plain object (a vm, a test runner's sandbox) has another Object.prototype, whose own prototype is null.
  const isPlain = prototype === null || Object.getPrototypeOf(prototype) === null;
  return visible === 0 && !isPlain;
}

function kindOf(value: object): string {
  const maker: unknown = value.constructor;
  return typeof maker === "function" && maker.name !== "" ? maker.name : "object";
}
