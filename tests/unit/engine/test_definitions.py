from datetime import timedelta

import pytest

from pylon_workflows.core.retry import RetryPolicy
from pylon_workflows.definitions import Definitions, WorkflowDefinition
from pylon_workflows.errors import CallerError, InvalidInputError, UnknownWorkflowError


def test_a_definition_has_the_defaults_that_the_documentation_names():
    definition = WorkflowDefinition("order")
    assert (definition.max_retries, definition.step_timeout) == (3, timedelta(seconds=30))
    assert definition.policy == RetryPolicy(
        max_retries=3, initial_backoff=timedelta(seconds=1), maximum_backoff=timedelta(minutes=5)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "name: must have 1 to 128 characters, not 0"),
        ({"name": "x" * 129}, "name: must have 1 to 128 characters, not 129"),
        ({"version": ""}, "version: must have 1 to 128 characters, not 0"),
        ({"name": None}, "name: must be a text, not None"),
        ({"version": 2}, "version: must be a text or None, not 2"),
        ({"description": 5}, "description: must be a text or None, not 5"),
        ({"max_retries": "3"}, "max_retries: must be a whole number, not '3'"),
        ({"max_retries": True}, "max_retries: must be a whole number, not True"),
        ({"max_in_flight": 2.5}, "max_in_flight: must be a whole number or None, not 2.5"),
        ({"step_timeout": None}, "step_timeout: must be a timedelta, not None"),
        ({"input_schema": []}, "input_schema: must be a mapping or None, not list"),
        ({"input_schema": {"x": float("nan")}}, "input_schema: .*nan is not JSON"),
        ({"input_schema": {"x": "y" * 65_536}}, "input_schema: has 65544 bytes, the limit is 65536"),
        ({"source": "nowhere"}, "source: must be one of code, saved, runner, not 'nowhere'"),
        ({"max_retries": -1}, "max_retries: must be from 0 to 1,000,000, not -1"),
        ({"max_retries": 1_000_001}, "max_retries: must be from 0"),
        ({"max_in_flight": 0}, "max_in_flight: must be from 1 to 1,000,000, not 0"),
        ({"max_in_flight": 1_000_001}, "max_in_flight: must be from 1"),
        ({"step_timeout": timedelta(0)}, "step_timeout: must be positive"),
        ({"step_timeout": timedelta(days=36526)}, "step_timeout: must be at most 100 years"),
        ({"step_timeout": "30s"}, "step_timeout: must be a timedelta, not '30s'"),
        ({"maximum_backoff": 300}, "maximum_backoff: must be a timedelta, not 300"),
        ({"initial_backoff": timedelta(seconds=-1)}, "initial_backoff: must not be negative"),
        ({"initial_backoff": timedelta(minutes=6)}, "initial_backoff: must not be negative, nor beyond"),
    ],
)
def test_a_definition_that_makes_no_sense_is_refused_with_the_field_named(options, message):
    with pytest.raises(CallerError, match=message):
        WorkflowDefinition(**{"name": "order", **options})


def test_the_limits_themselves_are_allowed():
    WorkflowDefinition(
        "x" * 128,
        version="v" * 128,
        max_retries=1_000_000,
        max_in_flight=1_000_000,
        step_timeout=timedelta(days=36525),
        initial_backoff=timedelta(days=36525),
        maximum_backoff=timedelta(days=36525),
    )


def test_what_is_no_definition_is_refused():
    with pytest.raises(InvalidInputError, match="definition: must be a WorkflowDefinition, not str"):
        Definitions().register("order")


def test_a_definition_registered_in_code_wins_over_one_that_came_over_http():
    definitions = Definitions()
    mine, stored = WorkflowDefinition("order", max_retries=1), WorkflowDefinition("order", max_retries=9)
    definitions.register(mine)
    definitions.restore([stored, WorkflowDefinition("refund")])
    assert definitions.get("order") is mine
    assert [definition.name for definition in definitions] == ["order", "refund"]
    assert next(iter(definitions)) is mine


def test_the_last_definition_of_a_name_counts():
    definitions = Definitions()
    definitions.restore([WorkflowDefinition("order", max_retries=1)])
    definitions.restore([WorkflowDefinition("order", max_retries=2)])
    assert definitions.get("order").max_retries == 2
    definitions.register(WorkflowDefinition("order", max_retries=3))
    definitions.register(WorkflowDefinition("order", max_retries=4))
    assert definitions.get("order").max_retries == 4


def test_the_places_that_a_workflow_may_have_are_those_of_its_present_definition():
    definitions = Definitions()
    assert definitions.max_in_flight("order") is None
    definitions.restore([WorkflowDefinition("order", max_in_flight=1)])
    assert definitions.max_in_flight("order") == 1
    definitions.register(WorkflowDefinition("order", max_in_flight=2))
    assert definitions.max_in_flight("order") == 2


def test_it_is_known_whether_there_is_more_than_one_workflow():
    definitions = Definitions()
    assert not definitions.has_several
    definitions.register(WorkflowDefinition("order"))
    definitions.restore([WorkflowDefinition("order")])
    assert not definitions.has_several
    definitions.restore([WorkflowDefinition("refund")])
    assert definitions.has_several


def test_an_unknown_workflow_is_named_with_those_that_are_known():
    definitions = Definitions()
    with pytest.raises(UnknownWorkflowError, match="no workflow is named 'order'; registered: none"):
        definitions.get("order")
    definitions.register(WorkflowDefinition("refund"))
    definitions.register(WorkflowDefinition("ship"))
    with pytest.raises(UnknownWorkflowError, match="registered: refund, ship"):
        definitions.get("order")
