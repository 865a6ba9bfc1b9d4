"""How long a run has become, counted the same in the first pass and in each replay."""

from runner_protocol.messages import HistorySize, StepRecord
from runner_protocol.strict_json import encode_parsed


class HandedOut:
    """What the code has been handed: how many records, and on request the bytes of their outputs as JSON."""

    def __init__(self) -> None:
        self._steps = 0
        self._bytes = 0
        self._unmeasured: list[StepRecord] = []

    def add(self, handed: StepRecord | bytes) -> None:
        """One more: a record, or the output as JSON of a step of this turn."""
        self._steps += 1
        if isinstance(handed, bytes):
            self._bytes += len(handed)
        else:
            self._unmeasured.append(handed)

    @property
    def size(self) -> HistorySize:
        """What it comes to so far."""
        self._bytes += sum(len(encode_parsed(record.output)) for record in self._unmeasured)
        self._unmeasured.clear()
        return HistorySize(steps=self._steps, bytes=self._bytes)
