"""What an engine says of its end."""

import logging

from pylon_workflows.errors import StoreError
from pylon_workflows.lifetime import Lifetime


def test_one_that_has_failed_promises_no_time_to_what_was_cut_off(caplog):
    caplog.set_level(logging.INFO)
    lifetime = Lifetime()
    lifetime.begin()
    lifetime.fail(StoreError("the disk is broken"))
    lifetime.stop(2, 20.0)
    assert caplog.messages == ["the engine has stopped: the disk is broken"]
    assert str(lifetime.refusal) == "the disk is broken"
