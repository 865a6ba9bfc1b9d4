"""`python -m runner_protocol.conformance URL`: check a runner against the protocol.

Exit status: 0 every case passed, 1 some failed, 2 wrong usage or nothing answers at the URL.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import cast

from runner_protocol.conformance.cases import Case, CaseError, Profile, choose_cases, load_cases
from runner_protocol.conformance.checker import Outcome, check
from runner_protocol.conformance.exchange import Call, Exchange, ExchangeError, HttpExchange, UnreachableError
from runner_protocol.conformance.report import as_json, list_lines, outcome_lines, summary
from runner_protocol.signing import SigningKeys

PASSED, FAILED, UNUSABLE = 0, 1, 2


def main(arguments: Sequence[str]) -> int:
    """Check the runner that the arguments name; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        secret = None if options.secret_env is None else _secret(options.secret_env)
        profile = cast("Profile", options.profile)
        cases = choose_cases(load_cases(), options.case, profile, is_signed=options.list or secret is not None)
    except CaseError as error:
        return _refuse(str(error))
    if secret is None and any(case.is_signed for case in cases) and not options.list:
        return _refuse("name the environment variable that holds the runner's secret: --secret-env VARIABLE")
    if options.list:
        _write(*list_lines(cases))
        return PASSED
    if options.url is None:
        return _refuse("say which runner to check: python -m runner_protocol.conformance URL")
    try:
        exchange = HttpExchange(options.url, timeout_s=options.timeout)
        _knock(exchange)
    except (ValueError, UnreachableError) as error:
        return _refuse(str(error))
    outcomes = _play(cases, exchange, secret, is_silent=options.json)
    if options.json:
        _write(as_json(options.url, outcomes))
    else:
        _write(summary(outcomes))
    return PASSED if all(outcome.has_passed for outcome in outcomes) else FAILED


def _secret(variable: str) -> str:
    secret = os.environ.get(variable, "")
    try:
        SigningKeys([secret])
    except ValueError as error:
        raise CaseError(f"the environment variable {variable}: {error}") from None
    return secret


def _play(cases: Sequence[Case], exchange: Exchange, secret: str | None, *, is_silent: bool) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for outcome in check(cases, exchange, secret):
        outcomes.append(outcome)
        if not is_silent:
            _write(*outcome_lines(outcome))
    return outcomes


def _knock(exchange: Exchange) -> None:
    """Find out whether anything listens, whatever it answers."""
    try:
        exchange(Call("GET", {}, b""))
    except UnreachableError:
        raise
    except ExchangeError:
        return


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m runner_protocol.conformance", description="Check a runner against the step protocol."
    )
    parser.add_argument("url", nargs="?", metavar="URL", help="where the runner answers, such as http://HOST:PORT/run")
    parser.add_argument("--list", action="store_true", help="list the cases and the rules that they prove")
    parser.add_argument("--case", action="append", default=[], metavar="NAME", help="play this case only (repeatable)")
    parser.add_argument(
        "--profile",
        choices=["plain", "kit", "stream"],
        default="stream",
        help="stream (default): all cases; kit: those of a kit that does one thing a turn; plain: those of any runner",
    )
    parser.add_argument(
        "--secret-env",
        metavar="VARIABLE",
        help="sign each call with the secret in this environment variable, and play the cases of signatures too",
    )
    parser.add_argument("--json", action="store_true", help="write one JSON object instead of lines")
    parser.add_argument("--timeout", type=_seconds, default=10.0, metavar="S", help="seconds for one reply (10)")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 3600:
        raise ValueError
    return seconds


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"{sentence}\n")
    return UNUSABLE


def _write(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
