"""An instance as a document: what is written is read back, and nothing else is taken for one."""

import json
from datetime import UTC, datetime

import pytest

from pylon_workflows.errors import InvalidInputError
from pylon_workflows.exports import FORMAT, exported, read_export
from tests.contracts.store_contract import EVERY_KIND, after, new_instance

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
ORIGIN = new_instance(version="7", idempotency_key="k", tags_json='{"a":"ü"}'.encode(), due_at=NOW)
HISTORY = [ORIGIN.origin, *EVERY_KIND]


def document(**changes):
    value = json.loads(exported(HISTORY, NOW))
    value.update(changes)
    return json.dumps(value).encode()


def test_every_kind_of_transition_comes_back_equal_and_adds_up():
    instance, history = read_export(exported(HISTORY, NOW))
    assert history == HISTORY
    assert instance == after(ORIGIN, *EVERY_KIND)
    assert exported(history, NOW) == exported(HISTORY, NOW)


def test_each_transition_is_a_line():
    head, *lines, end = exported(HISTORY, NOW).decode().splitlines()
    assert json.loads(head + "]}")["format"] == FORMAT
    assert [json.loads(line.rstrip(","))["revision"] for line in lines] == list(range(1, len(HISTORY) + 1))
    assert end == "]}"


def changed(number, **changes):
    history = json.loads(exported(HISTORY, NOW))["history"]
    history[number].update(changes)
    return document(history=history)


def of(type, /, **changes):
    """The document with the first transition of this type changed; its place begins the error."""
    number = next(number for number, each in enumerate(json.loads(document())["history"]) if each["type"] == type)
    return changed(number, **changes)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the document:"),
        (b"{", "the document:"),
        (b"[]", "format: should be"),
        (b'{"format": "tar"}', "format: should be"),
        (document(format_version=2), "format_version: 2 is a newer release's"),
        (document(format_version="1"), "format_version: should be a whole number"),
        (document(history={}), "history: should be a list"),
        (document(history=[]), "history: should begin with instance_started"),
        (document(history=json.loads(document())["history"][1:]), "history.1.revision: should be 1, not 2"),
        (document(history=[1]), "history.1.should be an object"),
        (changed(0, type="instance_begun"), "history.1.type: 'instance_begun' is no transition"),
        (changed(0, id="a b"), "history.1.id: 'a b' must be"),
        (changed(0, id=7), "history.1.id: should be a text"),
        (changed(0, name=""), "history.1.name: must have 1 to 128"),
        (changed(0, tags={"a": 1}), "history.1.tags.a: must be a text"),
        (changed(0, parent_id='x","input":"forged'), "history.1.parent_id:"),
        (changed(0, seed='x"'), "history.1.seed: should be 32 hex digits"),
        (changed(0, version=""), "history.1.version: must have 1 to 128"),
        (changed(0, idempotency_key="k" * 129), "history.1.idempotency_key: must have 1 to 128"),
        (changed(0, step_timeout_s=0), "history.1.step_timeout_s: must be more than 0"),
        (of("step_succeeded", kind="child"), "kind: 'child' is what another action records"),
        (of("step_succeeded", notes=[1]), "notes: should be an object of"),
        (of("step_succeeded", notes={"cost": 1}), "notes: should be an object of"),
        (of("step_succeeded", notes={"usage": {"cost_usd": "NaN"}}), "notes.usage.cost_usd: String should match"),
        (of("step_succeeded", notes={"usage": {"cost_usd": "1e400"}}), "notes.usage.cost_usd: String should match"),
        (of("step_succeeded", notes={"usage": {"input_tokens": -1}}), "notes.usage.input_tokens: Input should be"),
        (of("step_succeeded", notes={"noted": "7"}), "notes.noted: Input should be"),
        (changed(0, at="yesterday"), "history.1.at: should be an RFC 3339 time"),
        (changed(0, step_timeout_s=-1), "history.1.step_timeout_s: should be seconds"),
        (changed(0, policy={"max_retries": 3}), "history.1.policy.initial_backoff_s: is missing"),
        (changed(1, more=1), "history.2.more: is no field of run_started"),
        (changed(2, position=-1), "history.3.position: should be a whole number"),
        (changed(2, position=True), "history.3.position: should be a whole number"),
    ],
)
def test_what_is_no_such_document_is_refused_with_its_place(content, words):
    with pytest.raises(InvalidInputError) as refused:
        read_export(content)
    said = str(refused.value)
    assert said.startswith(words) or (said.startswith("history.") and said.split(".", 2)[2].startswith(words))


def test_a_history_that_does_not_add_up_is_refused():
    history = json.loads(exported(HISTORY, NOW))["history"]
    taken = next(entry for entry in history if entry["type"] == "event_taken")
    taken["source"] = 99
    with pytest.raises(InvalidInputError, match="history: does not add up"):
        read_export(document(history=history))
    second = {**history[0], "revision": 2}
    with pytest.raises(InvalidInputError, match="history"):
        read_export(document(history=[history[0], second]))
