"""Runners that get HTTP or JSON wrong."""

import asyncio
import json
import struct
import unicodedata
from typing import Any

from runner_protocol.conformance.exchange import Call, Reply
from runner_protocol.strict_json import encode_parsed

from ..front import Front, MalformedError
from ..reference import Asked, Turn
from . import fails


@fails(
    "get-is-405",
)
class AnswersAnyMethod(Front):
    """Shows a friendly page to whoever does not POST."""

    async def reply(self, call: Call) -> Reply:
        return await super().reply(call) if call.method == "POST" else Reply(200, {}, b"a runner lives here")


@fails(
    "malformed-json-is-4xx",
    "a-refused-request-is-not-read",
)
class FailsOnMalformedJson(Front):
    """Answers an action to what it cannot read, so that a broken proxy fails workflows."""

    async def reply(self, call: Call) -> Reply:
        try:
            json.loads(call.body or b"{}")["workflow_id"]
        except (ValueError, TypeError):
            return self.encode({"action": "fail", "error": "bad request"})
        except KeyError:
            pass
        return await super().reply(call)


@fails(
    "missing-field-is-named",
)
class FillsInMissingFields(Front):
    """Takes a missing field for an empty one."""

    def check_field(self, request: dict[str, Any], name: str, kind: type) -> None:
        super().check_field({name: kind(), **request}, name, kind)
        request.setdefault(name, kind())


@fails(
    "missing-field-is-named",
    "a-field-of-a-wrong-type-is-named",
    "a-bad-record-is-named",
    "another-mode-is-refused",
    "a-member-must-be-named",
)
class NamesNoField(Front):
    """Refuses without saying why."""

    def read(self, body: bytes) -> dict[str, Any]:
        try:
            return super().read(body)
        except MalformedError:
            raise MalformedError("bad request") from None


@fails(
    "a-field-of-a-wrong-type-is-named",
)
class CoercesTypes(Front):
    """Makes of a field what it would like to have."""

    def check_field(self, request: dict[str, Any], name: str, kind: type) -> None:
        if name in request:
            request[name] = kind(request[name])
        super().check_field(request, name, kind)


@fails(
    "a-bad-record-is-named",
)
class TrustsRecords(Front):
    """Looks at no record before it uses it."""

    def check_record(self, record: dict[str, Any]) -> None:
        pass


@fails(
    "unknown-request-fields-are-ignored",
    "a-change-is-found-before-an-error-of-the-code",
    "a-change-of-the-code-is-the-only-line",
    "a-child-is-started",
    "a-completed-step-says-when-it-ran",
    "a-decision-reaches-the-code",
    "a-failed-attempt-is-run-again",
    "a-failed-branch-fails-the-workflow",
    "a-failed-command-is-a-failed-attempt",
    "a-failed-group-can-be-caught",
    "a-failed-step-answers-fail",
    "a-final-failure-can-be-caught",
    "a-finished-workflow-completes",
    "a-group-called-beside-steps-comes-last",
    "a-history-of-a-thousand-records",
    "a-line-that-is-too-large-is-a-failure",
    "a-lost-race-is-no-divergence",
    "a-map-sends-its-items",
    "a-member-is-given-what-was-recorded",
    "a-member-is-run-alone",
    "a-member-of-a-group-that-is-gone-diverges",
    "a-member-of-an-unknown-workflow-is-deferred",
    "a-member-that-fails-answers-fail",
    "a-members-answer-carries-its-own-notes",
    "a-missing-mode-means-advance",
    "a-name-that-looks-like-a-key-is-refused",
    "a-named-sleep-is-keyed-by-its-name",
    "a-parallel-names-its-members",
    "a-pause-cannot-be-swallowed",
    "a-plain-event-reaches-the-code",
    "a-plain-failed-attempt-is-run-again",
    "a-plain-failure-names-its-step",
    "a-plain-sleep-is-not-asked-again",
    "a-record-of-another-helper-diverges",
    "a-record-of-another-kind-diverges",
    "a-recorded-step-never-runs-again",
    "a-retried-failure-of-a-renamed-step-is-no-divergence",
    "a-run-stays-with-its-version",
    "a-second-step-runs-after-the-first",
    "a-shortened-workflow-diverges",
    "a-skip-is-a-line-like-a-steps",
    "a-skipped-step-says-why",
    "a-sleep-can-end-at-a-time",
    "a-sleep-may-change-its-duration",
    "a-slow-step-is-announced",
    "a-step-can-ask-for-a-later-retry",
    "a-step-can-have-its-own-number-of-retries",
    "a-step-can-refuse-retries",
    "a-step-gets-its-idempotency-key",
    "a-stream-can-be-cut-anywhere",
    "a-stream-ends-with-what-suspends",
    "a-variable-is-not-set-in-a-step",
    "a-wait-can-fail-when-it-times-out",
    "a-wait-can-match-and-have-an-address",
    "a-wait-carries-its-timeout",
    "a-workflow-without-versions-takes-any-run",
    "actions-say-what-they-come-after",
    "after-a-failure-nothing-begins",
    "an-accept-that-names-no-stream-gets-one-object",
    "an-answer-can-be-a-stream",
    "an-answer-is-one-json-object",
    "an-answer-that-is-too-large-is-a-failure",
    "an-approval-asks-for-a-decision",
    "an-approval-can-fail-when-it-times-out",
    "an-attempt-in-a-stream-knows-its-number",
    "an-error-of-the-code-waits-for-steps-that-run",
    "an-event-is-keyed-by-its-name",
    "an-operation-is-recorded-with-kind-and-input",
    "an-output-that-is-no-json-is-a-failure",
    "an-uncaught-failure-of-a-child-fails-the-workflow",
    "an-uncaught-final-failure-fails-without-step-name",
    "an-unnamed-sleep-is-keyed-sleep",
    "applied-notes-are-not-sent-again",
    "attempt-number-counts-failures-of-its-key",
    "big-integers-and-doubles-survive",
    "broken-workflow-code-fails-without-step-name",
    "divergence-names-both-sides",
    "each-turn-of-a-loop-gets-its-own-output",
    "event-data-reaches-the-code",
    "every-text-survives",
    "falsy-values-survive",
    "gathered-failures-can-all-be-caught",
    "gathered-steps-run-at-the-same-time",
    "gathered-steps-run-one-a-turn",
    "groups-and-waits-called-together-take-turns",
    "keys-are-given-at-the-call",
    "keys-of-all-kinds-are-one-space",
    "lines-say-what-they-come-after",
    "live-results-are-handed-out-like-records",
    "names-in-unicode",
    "names-of-all-helpers-are-checked",
    "no-step-starts-before-all-records-are-handed-out",
    "notes-go-with-a-failure-of-the-code",
    "notes-go-with-the-next-action",
    "notes-go-with-the-next-line",
    "notes-of-a-failed-attempt-are-sent-with-it",
    "nothing-is-suspended-while-a-step-runs",
    "now-is-the-last-records-completed-at",
    "random-numbers-repeat",
    "record-fields-with-defaults-may-be-missing",
    "recorded-outputs-reach-the-code",
    "records-are-handed-out-in-recorded-order",
    "repeated-names-get-numbered-keys",
    "same-request-same-answer",
    "sleep-is-not-asked-again",
    "steps-come-before-suspensions",
    "the-first-called-suspension-is-answered",
    "the-first-turn-runs-the-first-step",
    "the-kind-of-a-step-may-change",
    "the-next-run-begins-with-its-input",
    "the-next-run-comes-before-what-suspends",
    "the-output-of-a-child-reaches-the-code",
    "the-outputs-of-a-group-reach-the-code",
    "timed-out-wait-returns-null",
    "turns-at-once-do-not-mix",
    "turns-of-different-instances-do-not-mix",
    "unknown-workflow-is-deferred",
    "variables-are-the-runs-and-the-codes-own",
    "what-applies-nothing-carries-no-notes",
    "what-was-skipped-is-no-result-of-a-step",
    "what-was-skipped-moves-no-time",
    "a-call-of-a-hook-is-an-event",
    "a-hook-url-is-signed",
    "a-hook-url-is-the-same-in-each-turn",
    "a-signature-is-good-for-five-minutes",
    "an-unsigned-request-is-refused",
    "one-signature-of-several-is-enough",
    "without-hooks-there-is-no-hook-url",
    "a-failed-operation-is-recorded-with-kind-and-input",
    "a-failed-operation-is-replayed-like-a-step",
    "without-hooks-a-step-puts-the-turn-off",
)
class RefusesUnknownFields(Front):
    """Refuses what a newer engine adds."""

    def read(self, body: bytes) -> dict[str, Any]:
        request = super().read(body)
        if unknown := [name for name in ("hologram", "vars") if name in request]:
            raise MalformedError(f"{unknown[0]} is not known")
        return request


@fails(
    "unknown-request-fields-are-ignored",
)
class RefusesUnknownRecordFields(Front):
    """Refuses what a newer engine adds to a record."""

    def check_record(self, record: dict[str, Any]) -> None:
        super().check_record(record)
        if "usage" in record:
            raise MalformedError("usage is not known")


@fails(
    "another-mode-is-refused",
    "a-member-must-be-named",
)
class IgnoresTheMode(Front):
    """Advances the workflow whatever was asked."""

    def check_mode(self, request: dict[str, Any]) -> None:
        pass


@fails(
    "a-missing-mode-means-advance",
)
class DemandsAMode(Front):
    """Has no default for the mode."""

    def check_mode(self, request: dict[str, Any]) -> None:
        super().check_mode({"mode": None, **request})


@fails(
    "unknown-workflow-is-deferred",
    "a-member-of-an-unknown-workflow-is-deferred",
    "a-run-stays-with-its-version",
)
class FailsUnknownWorkflows(Front):
    """Ends an instance because one process was deployed without its workflow."""

    def unknown(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"action": "fail", "error": f"unknown workflow '{request['workflow_name']}'"}


@fails(
    "an-answer-is-one-json-object",
    "an-accept-that-names-no-stream-gets-one-object",
)
class AnswersPlainText(Front):
    """Says that its JSON is text."""

    def encode(self, action: dict[str, Any]) -> Reply:
        return Reply(200, {"content-type": "text/plain"}, encode_parsed(action))


@fails(
    "big-integers-and-doubles-survive",
)
class HasShortNumbers(Front):
    """Keeps numbers in 32 bits."""

    def parse(self, body: bytes) -> dict[str, Any]:
        super().parse(body)
        request: dict[str, Any] = json.loads(body, parse_float=self.shorten)
        return request

    def shorten(self, text: str) -> float:
        number = float(text)
        return number if abs(number) > 1e38 else struct.unpack("f", struct.pack("f", number))[0]


@fails(
    "big-integers-and-doubles-survive",
)
class HasNoLargeIntegers(Front):
    """Cuts integers to 32 bits."""

    def parse(self, body: bytes) -> dict[str, Any]:
        super().parse(body)
        request: dict[str, Any] = json.loads(body, parse_int=lambda text: int(text) & 0x7FFFFFFF)
        return request


@fails(
    "every-text-survives",
)
class NormalisesText(Front):
    """Composes characters, so that texts that were different are equal."""

    def parse(self, body: bytes) -> dict[str, Any]:
        request = super().parse(body)
        return super().parse(unicodedata.normalize("NFC", json.dumps(request, ensure_ascii=False)).encode())


@fails(
    "every-text-survives",
    "names-in-unicode",
)
class KnowsLatin1(Front):
    """Writes a question mark for what its code page lacks."""

    def encode(self, action: dict[str, Any]) -> Reply:
        reply = super().encode(action)
        return Reply(200, reply.headers, reply.body.decode().encode("latin-1", "replace").decode("latin-1").encode())


@fails(
    "an-output-that-is-no-json-is-a-failure",
)
class WritesNullForNan(Turn):
    """Makes null of what JSON does not have, as JSON.stringify does."""

    async def run_body(self, call: Asked) -> Any:
        output = await super().run_body(call)
        return None if isinstance(output, float) and output != output else output  # noqa: PLR0124


@fails(
    "same-request-same-answer",
    "random-numbers-repeat",
    "a-name-that-looks-like-a-key-is-refused",
    "a-step-gets-its-idempotency-key",
    "gathered-steps-run-one-a-turn",
    "now-is-the-last-records-completed-at",
    "a-wait-can-fail-when-it-times-out",
    "an-accept-that-names-no-stream-gets-one-object",
    "applied-notes-are-not-sent-again",
    "notes-go-with-a-failure-of-the-code",
    "the-next-run-begins-with-its-input",
    "variables-are-the-runs-and-the-codes-own",
    "a-hook-url-is-signed",
    "a-signature-is-good-for-five-minutes",
    "one-signature-of-several-is-enough",
    "without-hooks-there-is-no-hook-url",
)
class AnswersOnce(Front):
    """Takes a turn that is asked again for a mistake."""

    def __init__(self) -> None:
        self.answered: set[tuple[str, int]] = set()

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        turn = (request["workflow_id"], len(request["completed_steps"]))
        if turn in self.answered:
            return {"action": "defer", "retry_after": "1s", "reason": "this turn has been answered"}
        self.answered.add(turn)
        return await super().answer(request)


@fails(
    "turns-of-different-instances-do-not-mix",
    "a-wait-carries-its-timeout",
    "attempt-number-counts-failures-of-its-key",
    "big-integers-and-doubles-survive",
    "turns-at-once-do-not-mix",
    "falsy-values-survive",
    "names-in-unicode",
    "a-record-of-another-helper-diverges",
    "actions-say-what-they-come-after",
    "an-uncaught-failure-of-a-child-fails-the-workflow",
    "groups-and-waits-called-together-take-turns",
    "the-next-run-begins-with-its-input",
    "what-was-skipped-is-no-result-of-a-step",
    "a-failed-operation-is-recorded-with-kind-and-input",
    "a-failed-operation-is-replayed-like-a-step",
)
class KeepsTheInput(Front):
    """Keeps the input of a workflow from one turn to the next."""

    def __init__(self) -> None:
        self.inputs: dict[str, Any] = {}

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        request["input"] = self.inputs.setdefault(request["workflow_name"], request["input"])
        return await super().answer(request)


@fails(
    "turns-of-different-instances-do-not-mix",
    "a-lost-race-is-no-divergence",
    "attempt-number-counts-failures-of-its-key",
    "big-integers-and-doubles-survive",
    "random-numbers-repeat",
    "records-are-handed-out-in-recorded-order",
    "names-in-unicode",
    "actions-say-what-they-come-after",
    "applied-notes-are-not-sent-again",
    "groups-and-waits-called-together-take-turns",
    "the-next-run-begins-with-its-input",
    "a-failed-operation-is-replayed-like-a-step",
)
class KeepsTheHistory(Front):
    """Remembers how far a workflow has come, and goes on from there."""

    def __init__(self) -> None:
        self.records: dict[str, list[dict[str, Any]]] = {}

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        longest = self.records.setdefault(request["workflow_name"], request["completed_steps"])
        if len(longest) > len(request["completed_steps"]):
            request["completed_steps"] = longest
        self.records[request["workflow_name"]] = request["completed_steps"]
        return await super().answer(request)


@fails(
    "turns-at-once-do-not-mix",
)
class KeepsOneAnswer(Front):
    """Has one variable for the answers of all turns."""

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        self.latest = await super().answer(request)
        await asyncio.sleep(0.01)
        return self.latest


@fails(
    "a-history-of-a-thousand-records",
)
class ReadsSmallBodies(Front):
    """Reads no more than 100 kB, as web frameworks do unless they are told."""

    def parse(self, body: bytes) -> dict[str, Any]:
        if len(body) > 100_000:
            raise MalformedError("the request is too large")
        return super().parse(body)


@fails(
    "an-answer-that-is-too-large-is-a-failure",
    "a-line-that-is-too-large-is-a-failure",
)
class AnswersAtAnyLength(Turn):
    """Sends what the engine will not read."""

    async def run(self, call: Asked) -> dict[str, Any]:
        action = await super().run(call)
        if action["action"] == "fail" and "too large" in action["error"]["message"]:
            return self.complete_step(call, await self.run_body(call), {})
        return action


@fails(
    "falsy-values-survive",
    "big-integers-and-doubles-survive",
)
class DropsWhatIsFalsy(Turn):
    """Takes what is false or empty for nothing."""

    def output(self, call: Asked, record: dict[str, Any]) -> Any:
        return super().output(call, record) or None


@fails(
    "falsy-values-survive",
)
class AnswersNothingForFalse(Turn):
    """Takes a step that returned false for one that returned nothing."""

    def complete_step(self, call: Asked, output: Any, times: dict[str, Any]) -> dict[str, Any]:
        return super().complete_step(call, output or None, times)
