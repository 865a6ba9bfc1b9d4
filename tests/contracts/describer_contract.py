"""What every runner does that can be asked for its workflows, where the far side answers with a status and bytes."""

import threading
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Protocol

import pytest

from pylon_workflows.errors import RunnerUnavailableError
from pylon_workflows.ports import Describer, Runner
from pylon_workflows.runner import descriptions
from pylon_workflows.runner.descriptions import DESCRIBE_TURN
from runner_protocol.messages import DescribedWorkflow, Description, parse_description
from tests.contracts.runner_contract import NoAnswerError, Reply, ReplyTo, never

TOLD = b'{"action":"description","protocol":2,"workflows":[{"name":"orders","version":"2","step_timeout":"90s"}]}'


class Describing(Runner, Describer, Protocol):
    """A runner that can be asked."""


class DescriberContract(ABC):
    """What holds whatever carries the question (PROTOCOL.md section 6)."""

    @abstractmethod
    def serve_replies(self, reply_to: ReplyTo) -> AbstractAsyncContextManager[Describing]:
        """A runner whose far side replies with this function; what the function raises breaks the far side down."""

    async def told(self, reply: Reply) -> Description | None:
        async def reply_to(body: bytes) -> Reply:
            return reply

        async with self.serve_replies(reply_to) as runner:
            return await runner.describe()

    async def test_the_question_is_that_of_the_protocol_and_the_answer_comes_back(self) -> None:
        asked: list[bytes] = []

        async def reply_to(body: bytes) -> Reply:
            asked.append(body)
            return Reply(200, TOLD)

        async with self.serve_replies(reply_to) as runner:
            assert isinstance(runner, Describer)
            description = await runner.describe()
        assert asked == [b'{"protocol":2,"mode":"describe"}']
        assert description is not None
        assert description.workflows == [
            DescribedWorkflow(name="orders", version="2", step_timeout=timedelta(seconds=90))
        ]

    @pytest.mark.parametrize(("count", "is_beside"), [(1, False), (10_000, True), (10_001, True)])
    async def test_a_long_description_does_not_hold_up_the_loop(
        self, count: int, is_beside: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        threads: list[bool] = []

        def noted(body: bytes) -> Description:
            threads.append(threading.current_thread() is not threading.main_thread())
            return parse_description(body)

        monkeypatch.setattr(descriptions, "parse_description", noted)
        names = b",".join(b'{"name":"%d"}' % number for number in range(count))
        description = await self.told(Reply(200, b'{"action":"description","workflows":[%b]}' % names))
        assert threads == [is_beside]
        assert (0 if description is None else len(description.workflows)) == (count if count <= 10_000 else 0)

    @pytest.mark.parametrize(
        "reply",
        [
            Reply(200, b'{"action":"complete"}'),
            Reply(200, b'{"error":"no workflow"}'),
            Reply(200, b"[]"),
            Reply(500, b'{"action":"fail","error":"KeyError: workflow_name"}'),
            Reply(500, b"<html>Internal Server Error</html>"),
            Reply(400, b'{"error":"workflow_name: is missing"}'),
            Reply(404, b"no such workflow"),
            Reply(422, b'{"detail":[]}'),
        ],
        ids=lambda reply: f"{reply.status} {reply.body[:20]!r}",
    )
    async def test_a_runner_of_version_1_that_says_something_else_tells_of_nothing(self, reply: Reply) -> None:
        assert await self.told(reply) is None

    @pytest.mark.parametrize("status", [301, 401, 403, 408, 425, 429, 502, 503, 504])
    async def test_a_proxy_or_a_server_that_is_not_ready_is_a_runner_that_is_away(self, status: int) -> None:
        with pytest.raises(RunnerUnavailableError, match=f"answered {status}"):
            await self.told(Reply(status, b"<html>"))

    @pytest.mark.parametrize("reply", [Reply(204), Reply(200), Reply(200, b"<html>")])
    async def test_a_2xx_that_is_no_json_is_no_runners(self, reply: Reply) -> None:
        with pytest.raises(RunnerUnavailableError):
            await self.told(reply)

    async def test_a_far_side_that_breaks_down_is_away(self) -> None:
        async def reply_to(body: bytes) -> Reply:
            raise NoAnswerError("the disk is on fire")

        async with self.serve_replies(reply_to) as runner:
            with pytest.raises(RunnerUnavailableError):
                await runner.describe()

    async def test_a_description_that_cannot_be_read_tells_of_nothing_and_the_log_says_why(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert await self.told(Reply(200, b'{"action":"description","workflows":[{"name":""}]}')) is None
        large = b'{"action":"description","workflows":[],"kit":"%s"}' % (b"x" * 5_000_000)
        assert await self.told(Reply(200, large)) is None
        about = [message for message in caplog.messages if "description" in message]
        assert [message.partition(": ")[2][:16] for message in about] == ["workflows.0.name", "the answer is la"]

    async def test_one_that_does_not_answer_is_away_after_a_few_seconds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def reply_to(body: bytes) -> Reply:
            await never()
            raise AssertionError

        for module in ("http", "local"):
            shortened = DESCRIBE_TURN._replace(timeout_s=0.1)
            monkeypatch.setattr(f"pylon_workflows.runner.{module}.DESCRIBE_TURN", shortened)
        async with self.serve_replies(reply_to) as runner:
            with pytest.raises(RunnerUnavailableError, match=r"timed out after 0\.1 s"):
                await runner.describe()
