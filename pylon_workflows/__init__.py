"""Durable workflows inside a Python web app, with the steps in any language."""

from pylon_workflows.api.app import create_app
from pylon_workflows.core.instance import Instance, Status
from pylon_workflows.core.records import Record
from pylon_workflows.definitions import WorkflowDefinition
from pylon_workflows.errors import (
    CallerError,
    ConflictError,
    CorruptDatabaseError,
    DatabaseInUseError,
    DatabaseInUseHereError,
    EngineError,
    EngineNotRunningError,
    InboxFullError,
    InstanceFinishedError,
    InstanceNotBlockedError,
    InstanceNotFinishedError,
    InvalidInputError,
    MalformedAnswerError,
    NewerDatabaseError,
    OutcomeError,
    OwnershipLostError,
    RunnerError,
    RunnerUnavailableError,
    StartConflictError,
    StorageFullError,
    StoreError,
    TooLargeError,
    TurnNotOpenError,
    TurnOpenError,
    TurnTimedOutError,
    UnknownInstanceError,
    UnknownWorkflowError,
    WorkflowCancelledError,
    WorkflowError,
    WorkflowFailedError,
)
from pylon_workflows.ports import EventReceipt, InstanceSummary, Started
from pylon_workflows.runner.http import HttpRunner
from pylon_workflows.runner.local import LocalRunner
from pylon_workflows.settings import EngineSettings
from pylon_workflows.workflow_engine import WorkflowEngine

__version__ = "0.1.0"

__all__ = [
    "CallerError",
    "ConflictError",
    "CorruptDatabaseError",
    "DatabaseInUseError",
    "DatabaseInUseHereError",
    "EngineError",
    "EngineNotRunningError",
    "EngineSettings",
    "EventReceipt",
    "HttpRunner",
    "InboxFullError",
    "Instance",
    "InstanceFinishedError",
    "InstanceNotBlockedError",
    "InstanceNotFinishedError",
    "InstanceSummary",
    "InvalidInputError",
    "LocalRunner",
    "MalformedAnswerError",
    "NewerDatabaseError",
    "OutcomeError",
    "OwnershipLostError",
    "Record",
    "RunnerError",
    "RunnerUnavailableError",
    "StartConflictError",
    "Started",
    "Status",
    "StorageFullError",
    "StoreError",
    "TooLargeError",
    "TurnNotOpenError",
    "TurnOpenError",
    "TurnTimedOutError",
    "UnknownInstanceError",
    "UnknownWorkflowError",
    "WorkflowCancelledError",
    "WorkflowDefinition",
    "WorkflowEngine",
    "WorkflowError",
    "WorkflowFailedError",
    "create_app",
]
