"""The seams of the engine. The docstrings are the contracts; `tests/contracts` holds every implementation to them."""

from pylon_workflows.ports.change_log import ChangeLog, ChangePage
from pylon_workflows.ports.clock import Clock
from pylon_workflows.ports.describer import Describer
from pylon_workflows.ports.engine import EMPTY, Engine, Role
from pylon_workflows.ports.live_rows import LiveRows, Piece
from pylon_workflows.ports.outbox_store import OutboxStore
from pylon_workflows.ports.payload_codec import PayloadCodec
from pylon_workflows.ports.published_store import Acceptance, PublishedStore, StartOutcome
from pylon_workflows.ports.receiver import NotDeliveredError, Receiver
from pylon_workflows.ports.run_store import RunStore
from pylon_workflows.ports.runner import Apply, Runner, Turn
from pylon_workflows.ports.schedule_store import ScheduleStore
from pylon_workflows.ports.secret_store import SecretStore
from pylon_workflows.ports.store import Store
from pylon_workflows.ports.token_store import TokenStore
from pylon_workflows.ports.writes import Write
from pylon_workflows.published import PublishReceipt
from pylon_workflows.summaries import (
    MAX_HISTORY_PAGE,
    MAX_PAGE,
    PARKED,
    ApprovalReceipt,
    EventReceipt,
    HistoryPage,
    InstanceSummary,
    RunnerWait,
    Started,
)

__all__ = [
    "EMPTY",
    "MAX_HISTORY_PAGE",
    "MAX_PAGE",
    "PARKED",
    "Acceptance",
    "Apply",
    "ApprovalReceipt",
    "ChangeLog",
    "ChangePage",
    "Clock",
    "Describer",
    "Engine",
    "EventReceipt",
    "HistoryPage",
    "InstanceSummary",
    "LiveRows",
    "NotDeliveredError",
    "OutboxStore",
    "PayloadCodec",
    "Piece",
    "PublishReceipt",
    "PublishedStore",
    "Receiver",
    "Role",
    "RunStore",
    "Runner",
    "RunnerWait",
    "ScheduleStore",
    "SecretStore",
    "StartOutcome",
    "Started",
    "Store",
    "TokenStore",
    "Turn",
    "Write",
]
