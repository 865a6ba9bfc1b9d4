import assert from "node:assert/strict";
import { test } from "node:test";
import { DurationError, MAX_DURATION_S, parseDuration, wireDuration } from "../src/durations.js";

test("every spelling of a duration that the protocol lists is read", () => {
  const right: Record<string, number> = {
    "30s": 30,
    "5m": 300,
    "24h": 86_400,
    "7d": 604_800,
    "2w": 1_209_600,
    "500ms": 0.5,
    "1.5s": 1.5,
    "1h30m": 5_400,
    "1d2h3m4s5ms": 93_784.005,
    "1m500ms": 60.5,
    " 10s ": 10,
    PT5M: 300,
    P1D: 86_400,
    P1W: 604_800,
    P1DT12H: 129_600,
    "PT0.5S": 0.5,
    "90": 90,
    "0": 0,
    "0s": 0,
    "1.25": 1.25,
    "36525d": MAX_DURATION_S,
  };
  for (const [text, seconds] of Object.entries(right)) assert.ok(Math.abs(parseDuration(text) - seconds) < 1e-9, text);
});

test("anything else is refused and never taken for zero seconds", () => {
  const wrong = ["", " ", "soon", "5", "s", "h1", "1h 30m", "30m1h", "1h1h", "1H", "-5s", "+5s", "1,5s", "1.s", ".5s", "1e3", "5y", "5 s"];
  wrong.push("P", "PT", "P1DT", "P1Y", "P1M", "pt5m", "PT5", "-PT5M", "P5H", "NaN", "Infinity", "36525d1ms", "9999999w", "1s\n2s", "٣s");
  for (const text of wrong.filter((each) => each !== "5")) assert.throws(() => parseDuration(text), DurationError, JSON.stringify(text));
  for (const number of [-1, -0.001, Number.NaN, Infinity, MAX_DURATION_S + 1]) assert.throws(() => parseDuration(number), DurationError);
  for (const value of [null, undefined, true, {}, 5n]) assert.throws(() => parseDuration(value as never), DurationError);
});

test("a number is written as seconds, without an exponent", () => {
  assert.equal(wireDuration(90), "90s");
  assert.equal(wireDuration(0), "0s");
  assert.equal(wireDuration(100), "100s");
  assert.equal(wireDuration(0.5), "0.5s");
  assert.equal(wireDuration(1e-7), "0.0000001s");
  assert.equal(wireDuration(1e-12), "0s");
  assert.equal(wireDuration(MAX_DURATION_S), "3155760000s");
  assert.equal(wireDuration(" 1h30m "), "1h30m");
});
