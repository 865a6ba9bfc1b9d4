"""What a delivery does, and what its sender is answered."""

import asyncio
import logging
from datetime import timedelta
from urllib.parse import urlencode

import httpx
import pytest
from hook_signing import AT, OTHER_SECRET, SECRET, Headers, MakeClient, body_of, github, slack, standard, stripe

from pylon_workflows import Limits, WorkflowEngine
from pylon_workflows.core.instance import Status
from pylon_workflows.core.transitions import EventReceived
from pylon_workflows.errors import EngineNotRunningError, InboxFullError, NoOwnerError, StorageFullError, WorkflowError
from pylon_workflows.hooks import (
    BadSignatureError,
    GitHub,
    HookSource,
    Slack,
    StandardWebhooks,
    Stripe,
    create_hooks_app,
)
from pylon_workflows.hooks.signatures.verifier import RawHeaders
from pylon_workflows.testing import FakeClock
from runner_protocol.messages import WaitEvent

PAID = body_of({"id": "evt_1", "type": "paid", "data": {"order": "order-7"}})


async def post(client: httpx.AsyncClient, path: str, body: bytes, headers: Headers) -> httpx.Response:
    return await client.post(path, content=body, headers=headers)  # type: ignore[arg-type]


async def received(engine: WorkflowEngine, instance_id: str = "order-7") -> list[tuple[str, str | None]]:
    """The events of an instance's history, each with its id."""
    history = await engine.history(instance_id)
    return [(each.event, each.event_id) for each in history if isinstance(each, EventReceived)]


class TestToAnInstance:
    async def test_it_resumes_the_instance_that_its_field_names(
        self, engine: WorkflowEngine, instance_id: str, client_of: MakeClient, stripe_source: HookSource
    ) -> None:
        await engine.apply(instance_id, WaitEvent(event="paid"))
        answer = await post(client_of(stripe_source), "/stripe", PAID, stripe(SECRET, PAID, AT))
        assert (answer.status_code, answer.json()) == (200, {"applied": True, "duplicate": False})
        assert answer.headers["content-type"] == "application/json"
        instance = await engine.get(instance_id)
        assert instance.status is Status.RUNNING
        assert [record.name for record in instance.records] == ["event:paid"]
        assert await received(engine) == [("paid", "stripe:evt_1")]

    async def test_one_that_comes_before_the_wait_is_kept(
        self, engine: WorkflowEngine, instance_id: str, client_of: MakeClient, stripe_source: HookSource
    ) -> None:
        await post(client_of(stripe_source), "/stripe", PAID, stripe(SECRET, PAID, AT))
        await engine.apply(instance_id, WaitEvent(event="paid"))
        assert (await engine.get(instance_id)).status is Status.RUNNING

    async def test_a_repeated_delivery_is_acknowledged_and_counts_once(
        self, engine: WorkflowEngine, instance_id: str, client_of: MakeClient, stripe_source: HookSource
    ) -> None:
        client = client_of(stripe_source)
        assert not (await post(client, "/stripe", PAID, stripe(SECRET, PAID, AT))).json()["duplicate"]
        later = body_of({"id": "evt_1", "type": "paid", "data": {"order": "order-7"}, "attempt": 2})
        answer = await post(client, "/stripe", later, stripe(SECRET, later, AT + 60))
        assert (answer.status_code, answer.json()) == (200, {"applied": True, "duplicate": True})
        assert len(await received(engine)) == 1

    async def test_one_that_comes_at_once_many_times_counts_once(
        self, engine: WorkflowEngine, instance_id: str, client_of: MakeClient, stripe_source: HookSource
    ) -> None:
        client = client_of(stripe_source)
        answers = await asyncio.gather(
            *(post(client, "/stripe", PAID, stripe(SECRET, PAID, AT + number)) for number in range(50))
        )
        assert {answer.status_code for answer in answers} == {200}
        assert sorted(answer.json()["duplicate"] for answer in answers) == [False] + [True] * 49
        assert len(await received(engine)) == 1

    async def test_two_sources_with_one_delivery_id_are_two_events(
        self, engine: WorkflowEngine, instance_id: str, client_of: MakeClient, stripe_source: HookSource
    ) -> None:
        other = HookSource("stripe-eu", Stripe(OTHER_SECRET), instance="{data.order}")
        client = client_of(stripe_source, other)
        await post(client, "/stripe", PAID, stripe(SECRET, PAID, AT))
        await post(client, "/stripe-eu", PAID, stripe(OTHER_SECRET, PAID, AT))
        assert await received(engine) == [("paid", "stripe:evt_1"), ("paid", "stripe-eu:evt_1")]

    async def test_an_id_that_is_too_long_for_an_events_is_told_apart_all_the_same(
        self, engine: WorkflowEngine, instance_id: str, client_of: MakeClient, stripe_source: HookSource
    ) -> None:
        client = client_of(stripe_source)
        for end, is_duplicate in (("a", False), ("b", False), ("a", True)):
            body = body_of({"id": "x" * 300 + end, "type": "paid", "data": {"order": "order-7"}})
            answer = await post(client, "/stripe", body, stripe(SECRET, body, AT))
            assert answer.json()["duplicate"] is is_duplicate
        assert len(await received(engine)) == 2

    async def test_the_id_may_stand_in_the_url(
        self, engine: WorkflowEngine, instance_id: str, client_of: MakeClient
    ) -> None:
        client = client_of(HookSource("psp", StandardWebhooks(SECRET), instance="{url:id}"))
        answer = await post(client, "/psp/order-7", PAID, standard(SECRET, PAID, AT))
        assert answer.json() == {"applied": True, "duplicate": False}
        assert await received(engine) == [("paid", "psp:msg_1")]
        assert (await post(client, "/psp", PAID, standard(SECRET, PAID, AT))).status_code == 404

    async def test_a_source_without_an_id_in_the_url_takes_none(
        self, client_of: MakeClient, stripe_source: HookSource, instance_id: str
    ) -> None:
        answer = await post(client_of(stripe_source), "/stripe/order-7", PAID, stripe(SECRET, PAID, AT))
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown-source")


class TestWhatTheWorkflowGets:
    async def data_of(self, engine: WorkflowEngine, event: str = "paid") -> object:
        await engine.apply("order-7", WaitEvent(event=event))
        instance = await engine.get("order-7")
        assert instance.status is Status.RUNNING
        return instance.records[-1].output

    async def test_the_whole_body(
        self, engine: WorkflowEngine, instance_id: str, client_of: MakeClient, stripe_source: HookSource
    ) -> None:
        await post(client_of(stripe_source), "/stripe", PAID, stripe(SECRET, PAID, AT))
        output = await self.data_of(engine)
        assert output == {"id": "evt_1", "type": "paid", "data": {"order": "order-7"}}

    async def test_or_a_part_of_it_under_a_name_of_the_workflows(
        self, engine: WorkflowEngine, instance_id: str, client_of: MakeClient
    ) -> None:
        source = HookSource(
            "stripe", Stripe(SECRET), instance="{data.order}", data="data", events={"paid": "payment done"}
        )
        await post(client_of(source), "/stripe", PAID, stripe(SECRET, PAID, AT))
        assert await self.data_of(engine, "payment done") == {"order": "order-7"}

    async def test_from_a_form_its_fields(
        self, engine: WorkflowEngine, instance_id: str, client_of: MakeClient
    ) -> None:
        source = HookSource("slack", Slack(SECRET), instance="{text}")
        body = urlencode({"command": "/deploy", "text": "order-7", "trigger_id": "1.2", "empty": ""}).encode()
        answer = await post(client_of(source), "/slack", body, slack(SECRET, body, AT))
        assert answer.json() == {"applied": True, "duplicate": False}
        output = await self.data_of(engine, "/deploy")
        assert output == {"command": "/deploy", "text": "order-7", "trigger_id": "1.2", "empty": ""}

    async def test_from_a_form_with_a_payload_the_json_in_it(
        self, engine: WorkflowEngine, instance_id: str, client_of: MakeClient
    ) -> None:
        source = HookSource("slack", Slack(SECRET), instance="{actions.0.value}")
        pressed = {"type": "block_actions", "trigger_id": "1.3", "actions": [{"value": "order-7"}]}
        body = urlencode({"payload": body_of(pressed)}).encode()
        await post(client_of(source), "/slack", body, slack(SECRET, body, AT))
        assert await self.data_of(engine, "block_actions") == pressed


class TestNotApplicable:
    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "unreadable-body"),
            (b"no json", "unreadable-body"),
            (b"\xff\xfe", "unreadable-body"),
            (b'{"id": NaN}', "unreadable-body"),
            (b'{"id": 1, "id": 2}', "unreadable-body"),
            (b"[" * 100 + b"]" * 100, "unreadable-body"),
            (b"null", "missing-field"),
            (b"[]", "missing-field"),
            (b"{}", "missing-field"),
            (body_of({"id": "e", "data": {"order": "order-7"}}), "missing-field"),
            (body_of({"type": "paid", "data": {"order": "order-7"}}), "missing-field"),
            (body_of({"id": "e", "type": "paid"}), "missing-field"),
            (body_of({"id": "e", "type": "paid", "data": {"order": None}}), "missing-field"),
            (body_of({"id": "e", "type": "paid", "data": {"order": "nobody"}}), "unknown-instance"),
            (body_of({"id": "e", "type": "paid", "data": {"order": "no id / at all"}}), "unknown-instance"),
            (body_of({"id": "e", "type": "paid", "data": {"order": "start"}}), "unknown-instance"),
            (body_of({"id": "e", "type": "x" * 129, "data": {"order": "order-7"}}), "name-too-long"),
            (body_of({"id": "e", "type": "p", "data": {"order": "order-7"}, "x": "y" * 300_000}), "event-too-large"),
        ],
    )
    async def test_a_genuine_delivery_that_can_be_applied_to_nothing_is_acknowledged(
        self, body: bytes, reason: str, client_of: MakeClient, stripe_source: HookSource, instance_id: str
    ) -> None:
        answer = await post(client_of(stripe_source), "/stripe", body, stripe(SECRET, body, AT))
        assert answer.status_code == 200
        assert answer.json() == {
            "applied": False, "duplicate": False, "reason": reason, "detail": answer.json()["detail"]
        }  # fmt: skip
        assert answer.json()["detail"]

    async def test_an_event_that_the_source_does_not_map(
        self, engine: WorkflowEngine, client_of: MakeClient, instance_id: str
    ) -> None:
        client = client_of(HookSource("stripe", Stripe(SECRET), instance="{data.order}", events=["paid"]))
        other = PAID.replace(b'"paid"', b'"refunded"')
        answer = await post(client, "/stripe", other, stripe(SECRET, other, AT))
        assert (answer.status_code, answer.json()["reason"]) == (200, "unmapped-event")
        assert (await post(client, "/stripe", PAID, stripe(SECRET, PAID, AT))).json()["applied"]
        assert [event for event, _ in await received(engine)] == ["paid"]

    async def test_a_finished_instance_but_a_repeated_delivery_is_still_one(
        self, engine: WorkflowEngine, client_of: MakeClient, instance_id: str, stripe_source: HookSource
    ) -> None:
        client = client_of(stripe_source)
        await post(client, "/stripe", PAID, stripe(SECRET, PAID, AT))
        await engine.cancel(instance_id)
        again = await post(client, "/stripe", PAID, stripe(SECRET, PAID, AT))
        assert again.json() == {"applied": True, "duplicate": True}
        other = PAID.replace(b"evt_1", b"evt_2")
        answer = await post(client, "/stripe", other, stripe(SECRET, other, AT))
        assert (answer.status_code, answer.json()["reason"]) == (200, "instance-finished")


class TestRefused:
    async def test_a_wrong_signature_is_a_problem_and_changes_nothing(
        self, engine: WorkflowEngine, client_of: MakeClient, instance_id: str, stripe_source: HookSource
    ) -> None:
        client = client_of(stripe_source)
        for headers in ([], stripe(OTHER_SECRET, PAID, AT), stripe(SECRET, PAID, AT - 301)):
            answer = await post(client, "/stripe", PAID, headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "bad-signature")
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"].startswith("Signature ")
        assert await received(engine) == []

    async def test_what_is_signed_for_one_source_is_refused_by_another(
        self, engine: WorkflowEngine, client_of: MakeClient, instance_id: str, stripe_source: HookSource
    ) -> None:
        other = HookSource("stripe-eu", Stripe(OTHER_SECRET), instance="{data.order}")
        answer = await post(client_of(stripe_source, other), "/stripe-eu", PAID, stripe(SECRET, PAID, AT))
        assert answer.status_code == 401

    async def test_nothing_is_read_before_it_is_verified(
        self, client_of: MakeClient, stripe_source: HookSource
    ) -> None:
        for body in (b"", b"no json", b"{}", PAID):
            answer = await post(client_of(stripe_source), "/stripe", body, stripe(OTHER_SECRET, body, AT))
            assert answer.status_code == 401

    @pytest.mark.parametrize("path", ["/", "/nobody", "/nobody/order-7", "/stripe/a/b", "/stripe/", "/hook", ""])
    async def test_an_unknown_source_is_404(self, path: str, client_of: MakeClient, stripe_source: HookSource) -> None:
        answer = await post(client_of(stripe_source), path, PAID, stripe(SECRET, PAID, AT))
        assert answer.status_code == 404
        assert answer.json()["code"] in ("unknown-source", "unknown-route")

    async def test_only_post_is_taken(self, client_of: MakeClient, stripe_source: HookSource) -> None:
        answer = await client_of(stripe_source).get("/stripe")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")

    async def test_a_body_that_is_too_large_is_413(self, client_of: MakeClient, stripe_source: HookSource) -> None:
        client = client_of(stripe_source, limits=Limits(max_body_bytes=100))
        body = b" " * 101
        answer = await post(client, "/stripe", body, stripe(SECRET, body, AT))
        assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")

    async def test_a_verifier_that_fails_lets_nothing_in_and_fills_no_log(
        self, client_of: MakeClient, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken:
            def verify(self, headers: RawHeaders, body: bytes, now: float) -> None:
                raise ZeroDivisionError

        client = client_of(HookSource("own", Broken(), instance="{id}", event="paid", delivery="{id}"))
        for wait_s in (0, 59, 1):
            clock.advance(timedelta(seconds=wait_s))
            answer = await post(client, "/own", PAID, [])
            assert (answer.status_code, answer.json()["code"]) == (401, "bad-signature")
        told = [record for record in caplog.records if record.exc_info]
        assert [record.getMessage() for record in told] == [
            "webhook source own: its verifier failed",
            "webhook source own: its verifier failed (and 1 others since the last was told)",
        ]
        assert "ZeroDivisionError" in caplog.text

    @pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
    async def test_a_verifier_that_answers_instead_of_refusing_lets_nothing_in(
        self, engine: WorkflowEngine, client_of: MakeClient, instance_id: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Answers:
            def verify(self, headers: RawHeaders, body: bytes, now: float) -> bool:
                return False

        class Waits:
            async def verify(self, headers: RawHeaders, body: bytes, now: float) -> None:
                raise BadSignatureError("never seen")

        for verifier in (Answers(), Waits()):
            source = HookSource("own", verifier, instance="{data.order}", event="paid", delivery="{id}")  # type: ignore[arg-type]
            assert (await post(client_of(source), "/own", PAID, [])).status_code == 401
        assert "a verifier returns None or raises BadSignatureError, and not bool" in caplog.text
        assert await received(engine) == []


class TestNotNow:
    @pytest.mark.parametrize(
        ("trouble", "status", "retry_after"),
        [
            (InboxFullError("full"), 429, "30"),
            (EngineNotRunningError("closed"), 503, "1"),
            (NoOwnerError("none"), 503, "1"),
            (StorageFullError("full"), 503, "5"),
        ],
    )
    async def test_what_passes_makes_the_sender_come_again(
        self, trouble: WorkflowError, status: int, retry_after: str, clock: FakeClock, stripe_source: HookSource
    ) -> None:
        class Troubled:
            async def send_event(self, *_: object, **__: object) -> None:
                raise trouble

        app = create_hooks_app(Troubled(), [stripe_source], clock=clock)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            answer = await post(client, "/stripe", PAID, stripe(SECRET, PAID, AT))
        assert (answer.status_code, answer.headers["retry-after"]) == (status, retry_after)

    async def test_an_inbox_that_is_full_takes_it_later(
        self, engine: WorkflowEngine, client_of: MakeClient, instance_id: str, stripe_source: HookSource
    ) -> None:
        for number in range(2000):
            await engine.send_event(instance_id, "other", number)
        answer = await post(client_of(stripe_source), "/stripe", PAID, stripe(SECRET, PAID, AT))
        assert (answer.status_code, answer.json()["code"]) == (429, "inbox-full")


class TestSenders:
    async def test_slack_gets_its_challenge_back_when_it_is_signed(self, client_of: MakeClient) -> None:
        client = client_of(HookSource("slack", Slack(SECRET), instance="{text}"))
        body = body_of({"token": "t", "challenge": "3eZbrw1aBm2rZgRNFdxV", "type": "url_verification"})
        answer = await post(client, "/slack", body, slack(SECRET, body, AT))
        assert (answer.status_code, answer.json()) == (200, {"challenge": "3eZbrw1aBm2rZgRNFdxV"})
        assert (await post(client, "/slack", body, slack(OTHER_SECRET, body, AT))).status_code == 401

    async def test_no_other_scheme_answers_challenges(self, client_of: MakeClient, stripe_source: HookSource) -> None:
        body = body_of({"challenge": "x", "type": "url_verification"})
        answer = await post(client_of(stripe_source), "/stripe", body, stripe(SECRET, body, AT))
        assert answer.json()["applied"] is False

    async def test_githubs_id_and_event_stand_in_headers(
        self, engine: WorkflowEngine, client_of: MakeClient, instance_id: str
    ) -> None:
        source = HookSource("github", GitHub(SECRET), instance="order-{number}", event="github.{header:x-github-event}")
        body = body_of({"number": 7})
        await post(client_of(source), "/github", body, github(SECRET, body, delivery=b"d-1"))
        form = urlencode({"payload": body}).encode()
        await post(client_of(source), "/github", form, github(SECRET, form, delivery=b"d-2", event=b"ping"))
        assert await received(engine) == [("github.push", "github:d-1"), ("github.ping", "github:d-2")]

    async def test_githubs_id_may_stand_there_twice_but_not_be_two(
        self, engine: WorkflowEngine, client_of: MakeClient, instance_id: str
    ) -> None:
        client = client_of(HookSource("github", GitHub(SECRET), instance="order-{number}"))
        body = body_of({"number": 7})
        signed = github(SECRET, body, delivery=b"d-1")
        assert (await post(client, "/github", body, [*signed, (b"x-github-delivery", b"d-1")])).json()["applied"]
        assert (await post(client, "/github", body, signed)).json()["duplicate"]
        answer = await post(client, "/github", body, [*signed, (b"x-github-delivery", b"d-2")])
        assert (answer.status_code, answer.json()["reason"]) == (200, "ambiguous-header")
        assert await received(engine) == [("push", "github:d-1")]

    async def test_a_json_that_is_said_to_be_a_form_is_read_as_what_was_signed(
        self, engine: WorkflowEngine, client_of: MakeClient, instance_id: str
    ) -> None:
        """Content types are not signed, so they decide nothing."""
        source = HookSource("github", GitHub(SECRET), instance="order-{number}")
        body = body_of({"number": 7})
        headers = [*github(SECRET, body), (b"content-type", b"application/x-www-form-urlencoded")]
        assert (await post(client_of(source), "/github", body, headers)).json()["applied"]


class TestLog:
    async def test_refusals_are_told_once_a_minute_and_counted(
        self, client_of: MakeClient, stripe_source: HookSource, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        client = client_of(stripe_source)
        for _ in range(3):
            await post(client, "/stripe", PAID, stripe(OTHER_SECRET, PAID, AT))
        clock.advance(timedelta(seconds=61))
        await post(client, "/stripe", PAID, [])
        told = [record.getMessage() for record in caplog.records if "was refused" in record.getMessage()]
        assert len(told) == 2
        assert "webhook source stripe" in told[0]
        assert told[1].endswith("(and 2 others since the last was told)")

    async def test_what_a_template_looked_for_in_vain_is_told(
        self, client_of: MakeClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        source = HookSource(
            "psp", Stripe(SECRET), delivery="{header:x-id|nr}", correlation="order:{data.order_id}", data="payment"
        )
        client, order = client_of(source), {"data": {"order_id": 7}, "type": "paid", "payment": {}}
        for body, headers in (
            ({**order, "data": {"canary": "canary"}}, [(b"x-id", b"1")]),
            ({**order, "data": {"order_id": ["canary"]}}, [(b"x-id", b"1")]),
            ({**order, "payment": "canary", "nr": {"canary": 1}}, []),
            (order, [(b"x-id", b"canary"), (b"x-id", b"other canary")]),
            ({"data": {"order_id": "canary"}, "type": "canary"}, [(b"x-id", b"canary")]),
        ):
            signed = body_of(body)
            answer = await post(client, "/psp", signed, [*stripe(SECRET, signed, AT), *headers])
            assert answer.json()["applied"] is False
        lead = "webhook source psp: acknowledged, not applied: "
        told = [record.getMessage() for record in caplog.records if lead in record.getMessage()]
        assert told == [
            f"{lead}missing-field: the body has no field data.order_id",
            f"{lead}missing-field: the body's field data.order_id is neither a text nor an integer",
            f"{lead}missing-field: the body's field nr is neither a text nor an integer",
            f"{lead}ambiguous-header: the header x-id stands there repeatedly, with several values",
            f"{lead}missing-field: the body has no field payment",
        ]
        assert "canary" not in caplog.text

    async def test_events_that_a_source_does_not_take_are_told_once_a_minute_for_each_source(
        self, client_of: MakeClient, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        names = {"one": SECRET, "two": OTHER_SECRET}
        client = client_of(
            *(HookSource(name, Stripe(key), instance="{id}", events=["x"]) for name, key in names.items())
        )
        for name, key in [*names.items()] * 3:
            await post(client, f"/{name}", PAID, stripe(key, PAID, AT))
        clock.advance(timedelta(seconds=61))
        await post(client, "/one", PAID, stripe(SECRET, PAID, AT))
        told = [record for record in caplog.records if "unmapped-event" in record.getMessage()]
        assert {record.levelname for record in told} == {"INFO"}
        assert [record.getMessage() for record in told] == [
            "webhook source one: acknowledged, not applied: unmapped-event",
            "webhook source two: acknowledged, not applied: unmapped-event",
            "webhook source one: acknowledged, not applied: unmapped-event (and 2 others since the last was told)",
        ]

    async def test_neither_bodies_nor_signatures_are_told(
        self, client_of: MakeClient, stripe_source: HookSource, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        canary = "canary-word"
        client = client_of(stripe_source)
        for body in (
            body_of({"id": canary, canary: canary, "type": canary}),
            f'{{"{canary}":1,"{canary}":2}}'.encode(),
        ):
            await post(client, "/stripe", body, stripe(SECRET, body, AT))
            await post(client, "/stripe", body, [(b"stripe-signature", canary.encode())])
        ours = [record.getMessage() for record in caplog.records if record.name.startswith("pylon_workflows")]
        assert ours
        assert not [message for message in ours if canary in message]
