"""Groups: what `parallel` and `map` ask of the engine, and how one member is found again (PROTOCOL.md section 5)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runner_protocol.actions import MAX_MEMBERS_IN_FLIGHT
from runner_protocol.kit.json_values import json_copy
from runner_protocol.kit.operation import Operation, operation_body
from runner_protocol.kit.options import Policy
from runner_protocol.kit.replay import check_name
from runner_protocol.kit.step import StepBody
from runner_protocol.messages import MAX_MEMBERS, Map, Member, MemberRequest, Parallel

MemberBody = Callable[[], Any] | tuple[Callable[[Any], Any], Any] | Operation[Any]
"""A function without arguments, one with its input, or an operation."""


@dataclass(frozen=True, slots=True)
class Group:
    """The action that asks for a group, and what runs its members; those of a `map` have one function."""

    action: Parallel | Map
    policy: Policy
    function: Callable[[Any], Any] | None = None
    members: Mapping[str, StepBody] = field(default_factory=dict)

    def body_of(self, member: MemberRequest) -> StepBody | None:
        """What runs this member with the input that the engine has recorded; None when the code has no such member."""
        if self.function is not None:
            return StepBody(function=self.function, arguments=(member.input,), policy=self.policy)
        body = self.members.get(member.name)
        if body is None or not body.arguments:
            return body
        return StepBody(function=body.function, arguments=(member.input,), policy=self.policy)


def read_parallel(
    name: str, members: Mapping[str, MemberBody], policy: Policy, fail_fast: bool, max_in_flight: int
) -> Group:
    """Check a group of named members. Raises TypeError, ValueError, OutputError."""
    what = f"parallel {name!r}"
    if not isinstance(members, Mapping):
        raise TypeError(f"{what} takes members by name, not {type(members).__name__}")
    _check(what, len(members), fail_fast, max_in_flight)
    bodies = {check_name("member", member): _member(what, member, body, policy) for member, body in members.items()}
    action = Parallel(
        name=name,
        members=[Member(name=member, input=body.input) for member, body in bodies.items()],
        fail_fast=fail_fast,
        max_in_flight=max_in_flight,
    )
    return Group(action, policy, members=bodies)


def read_map(
    name: str,
    items: Iterable[Any],
    function: Callable[[Any], Any],
    policy: Policy,
    fail_fast: bool,
    max_in_flight: int,
    *,
    is_asked: bool,
) -> Group:
    """Check a group of one member an item; the items themselves only when they are to be sent.

    Raises TypeError, ValueError, OutputError.
    """
    what = f"map {name!r}"
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, Iterable):
        raise TypeError(f"{what} takes a list of items, not {type(items).__name__}")
    if not callable(function):
        raise TypeError(f"{what} takes a function of one item, not {type(function).__name__}")
    listed = list(items) if is_asked else []
    _check(what, len(listed), fail_fast, max_in_flight)
    sent = json_copy(listed, f"the items of {what}")
    action = Map.model_construct(name=name, items=sent, fail_fast=fail_fast, max_in_flight=max_in_flight)
    return Group(action, policy, function=function)


def _member(what: str, member: str, body: MemberBody, policy: Policy) -> StepBody:
    what = f"member {member!r} of {what}"
    if isinstance(body, tuple) and len(body) == 2 and callable(body[0]):
        given = json_copy(body[1], f"the input of {what}")
        return StepBody(function=body[0], arguments=(given,), policy=policy, input=given)
    if isinstance(body, Operation):
        return operation_body(what, body, policy)
    if not callable(body):
        raise TypeError(f"{what} is a function, a (function, input) or an operation, not {type(body).__name__}")
    return StepBody(function=body, arguments=(), policy=policy)


def _check(what: str, count: int, fail_fast: object, max_in_flight: object) -> None:
    if count > MAX_MEMBERS:
        raise ValueError(f"{what} has {count:,} members; a group has at most {MAX_MEMBERS:,}")
    if not isinstance(fail_fast, bool):
        raise TypeError(f"{what}: fail_fast is True or False, not {fail_fast!r}")
    if type(max_in_flight) is not int or not 1 <= max_in_flight <= MAX_MEMBERS_IN_FLIGHT:
        raise ValueError(
            f"{what}: max_in_flight is a whole number from 1 to {MAX_MEMBERS_IN_FLIGHT:,}, not {max_in_flight!r}"
        )
