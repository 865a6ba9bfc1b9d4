"""What has happened to an instance: past-tense facts, the only truth about it.

A history is the transitions of an instance in order; the first is `InstanceStarted`. Whatever was judged when a
transition was made (a due time, a position, that a failure is final) stands in it, so that an old history folds alike
after the rules have changed. Fields named `*_json` are canonical JSON.

Fields that many of them have: `key` is the record's, `position` the place that it takes. `after` is how many positions
had been handed to the workflow's code when it asked for this, null where nobody said. `notes_json` is what the action
carried beside (`vars`, `unset`, `usage`, `progress`, `logs`, `noted`), as an object of those that are there.

What was added after the first release has a default, so that older histories fold as they did.
"""

from pylon_workflows.core.transitions.groups import (
    GroupFailed,
    GroupStarted,
    GroupSucceeded,
    MemberAttemptFailed,
    MemberFailed,
    MemberSucceeded,
)
from pylon_workflows.core.transitions.instances import (
    EarlierRunsDeleted,
    InstanceBlocked,
    InstanceCancelled,
    InstanceCompleted,
    InstanceFailed,
    InstanceResumed,
    InstanceStarted,
    RunContinued,
    RunStarted,
    WokeUp,
)
from pylon_workflows.core.transitions.steps import (
    AttemptFailed,
    SleepStarted,
    StepFailed,
    StepSkipped,
    StepSucceeded,
)
from pylon_workflows.core.transitions.waits import (
    ApprovalDecided,
    ApprovalRequested,
    ApprovalTimedOut,
    ChildFinished,
    ChildStarted,
    EventReceived,
    EventTaken,
    WaitStarted,
    WaitTimedOut,
)

Transition = (
    InstanceStarted
    | RunStarted
    | StepSucceeded
    | StepSkipped
    | AttemptFailed
    | StepFailed
    | SleepStarted
    | WokeUp
    | WaitStarted
    | EventReceived
    | EventTaken
    | WaitTimedOut
    | ApprovalRequested
    | ApprovalDecided
    | ApprovalTimedOut
    | GroupStarted
    | MemberSucceeded
    | MemberAttemptFailed
    | MemberFailed
    | GroupSucceeded
    | GroupFailed
    | ChildStarted
    | ChildFinished
    | RunContinued
    | EarlierRunsDeleted
    | InstanceCompleted
    | InstanceFailed
    | InstanceCancelled
    | InstanceBlocked
    | InstanceResumed
)

__all__ = [
    "ApprovalDecided",
    "ApprovalRequested",
    "ApprovalTimedOut",
    "AttemptFailed",
    "ChildFinished",
    "ChildStarted",
    "EarlierRunsDeleted",
    "EventReceived",
    "EventTaken",
    "GroupFailed",
    "GroupStarted",
    "GroupSucceeded",
    "InstanceBlocked",
    "InstanceCancelled",
    "InstanceCompleted",
    "InstanceFailed",
    "InstanceResumed",
    "InstanceStarted",
    "MemberAttemptFailed",
    "MemberFailed",
    "MemberSucceeded",
    "RunContinued",
    "RunStarted",
    "SleepStarted",
    "StepFailed",
    "StepSkipped",
    "StepSucceeded",
    "Transition",
    "WaitStarted",
    "WaitTimedOut",
    "WokeUp",
]
