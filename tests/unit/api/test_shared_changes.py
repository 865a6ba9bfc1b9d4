"""What is kept for readers who are a little behind is bounded, whatever the instances have to say."""

from still_engine import StillEngine

from pylon_workflows.api.shared_changes import SharedChanges
from runner_protocol.messages import Fail

MIB = 1024 * 1024


async def test_of_long_errors_the_last_few_mebibytes_are_kept(engine: StillEngine) -> None:
    changes, after = SharedChanges(engine), 0
    for number in range(40):
        instance_id = (await engine.start_or_find("onboarding", id=f"i{number}")).id
        await engine.apply(instance_id, Fail(error="x" * 250_000, retryable=False))
        told = await changes.next(after=after, timeout_s=1)
        before, after = after, told.page.after
        assert [summary.id for summary in told.page.instances] == [instance_id]
        assert changes.has(before)
    kept = list(changes._told.values())
    assert 2 * MIB < sum(told.size for told in kept) <= 4 * MIB
    assert kept[-1] is told


async def test_what_is_too_much_alone_is_told_and_not_kept(engine: StillEngine) -> None:
    for number in range(3):
        await engine.start_or_find("onboarding", id=f"i{number}")
        await engine.apply(f"i{number}", Fail(error="x" * (2 * MIB), retryable=False))
    changes = SharedChanges(engine)
    told = await changes.next(after=0, timeout_s=1)
    assert [summary.id for summary in told.page.instances] == ["i0", "i1", "i2"]
    assert not changes.has(0)
