"""A worker that does not own the file knows the URLs that its owner has given out."""

import pytest
from owner import Owner, worker

from pylon_workflows import WrongHookUrlError
from pylon_workflows.hook_keys import HOOK_SECRET, HookKeys
from runner_protocol.hook_urls import hook_signature
from runner_protocol.strict_json import parse


async def test_a_standby_knows_a_url_again_and_takes_over_with_the_same_secret(tmp_path):
    path = tmp_path / "orders.db"
    url = "https://app.example/hooks"
    async with worker(path, hooks_url=url) as first:
        secret = await first._engine._store.secrets.get(HOOK_SECRET)
    async with Owner(path) as owner, worker(path, hooks_url=url) as standby:
        instance_id = await standby.start("order")
        keys = HookKeys(url)
        await keys.open(owner.engine._store.secrets)
        key = parse(b"{" + keys.member(instance_id)[1:].encode() + b"}")["hooks"]["key"]
        signature = hook_signature(key, instance_id, 1, "psp")
        assert standby.role == "standby"
        assert await standby.is_present_hook(instance_id, "psp", signature) is True
        for wrong in ((instance_id, "psq"), ("wf_unknown", "psp")):
            with pytest.raises(WrongHookUrlError):
                await standby.is_present_hook(*wrong, signature)
        await owner.die()
        await standby.send_event(instance_id, "hook:psp", event_id="1")  # it has become the owner by then
        assert standby.role == "owner"
        assert await standby.is_present_hook(instance_id, "psp", signature) is True
        assert await standby._engine._store.secrets.get(HOOK_SECRET) == secret
