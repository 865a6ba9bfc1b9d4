from datetime import timedelta

import httpx
import pytest
from still_engine import StillEngine

from pylon_workflows.definitions import WorkflowDefinition


async def test_definitions_are_listed_by_name(client: httpx.AsyncClient, engine: StillEngine) -> None:
    engine.register(
        WorkflowDefinition("billing", max_retries=0, step_timeout=timedelta(milliseconds=1500), max_in_flight=8)
    )
    assert (await client.get("/definitions")).json() == [
        {
            "name": "billing",
            "version": None,
            "description": None,
            "max_retries": 0,
            "step_timeout_s": 1.5,
            "max_in_flight": 8,
            "input_schema": None,
            "source": "code",
        },
        {
            "name": "onboarding",
            "version": "7",
            "description": "Welcome",
            "max_retries": 3,
            "step_timeout_s": 30,
            "max_in_flight": None,
            "input_schema": None,
            "source": "code",
        },
    ]


async def test_a_definition_is_registered_and_then_replaced(client: httpx.AsyncClient) -> None:
    first = await client.post("/definitions", json={"name": "billing", "max_retries": 0, "step_timeout_s": 0.5})
    again = await client.post(
        "/definitions",
        json={
            "name": "billing",
            "version": "2",
            "description": "Bills",
            "max_in_flight": 2,
            "input_schema": {"type": "object"},
        },
    )
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == {
        "name": "billing",
        "version": None,
        "description": None,
        "max_retries": 0,
        "step_timeout_s": 0.5,
        "max_in_flight": None,
        "input_schema": None,
        "source": "saved",
    }
    assert again.json() == {
        "name": "billing",
        "version": "2",
        "description": "Bills",
        "max_retries": 3,
        "step_timeout_s": 30,
        "max_in_flight": 2,
        "input_schema": {"type": "object"},
        "source": "saved",
    }
    assert (await client.post("/start", json={"name": "billing"})).status_code == 201


async def test_pylons_own_fields_are_taken(client: httpx.AsyncClient) -> None:
    body = {"name": "billing", "file": "workflows/billing.ts", "description": None, "step_timeout_secs": 60}
    answer = await client.post("/definitions", json=body)
    assert answer.json()["step_timeout_s"] == 60


async def test_two_different_timeouts_are_400(client: httpx.AsyncClient) -> None:
    same = await client.post("/definitions", json={"name": "b", "step_timeout_s": 5, "step_timeout_secs": 5})
    other = await client.post("/definitions", json={"name": "b", "step_timeout_s": 5, "step_timeout_secs": 6})
    assert (same.status_code, other.status_code) == (201, 400)
    assert other.json()["detail"].startswith("step_timeout_s:")


async def test_what_the_program_registered_is_what_the_answer_says(client: httpx.AsyncClient) -> None:
    answer = await client.post("/definitions", json={"name": "onboarding", "max_retries": 9})
    assert (answer.status_code, answer.json()["max_retries"]) == (200, 3)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 3),
        ("name", ""),
        ("name", None),
        ("name", "x" * 129),
        ("version", 2),
        ("version", ""),
        ("description", ["x"]),
        ("max_retries", -1),
        ("max_retries", 1.5),
        ("max_retries", "3"),
        ("max_retries", True),
        ("max_retries", 10**7),
        ("step_timeout_s", 0),
        ("step_timeout_s", -5),
        ("step_timeout_s", "30s"),
        ("step_timeout_s", True),
        ("step_timeout_s", 1e300),
        ("step_timeout_s", 1e-9),
        ("step_timeout_secs", 0),
        ("step_timeout_secs", [1]),
        ("max_in_flight", 0),
        ("max_in_flight", 10**7),
        ("max_in_flight", "8"),
        ("max_in_flight", 1.5),
        ("max_in_flight", True),
        ("input_schema", []),
        ("input_schema", "object"),
        ("file", 1),
    ],
)
async def test_a_bad_term_is_400_and_named(client: httpx.AsyncClient, field: str, value: object) -> None:
    answer = await client.post("/definitions", json={"name": "billing", field: value})
    codes = {"max_retries": "too-many-retries", "step_timeout_s": "duration-too-long", "name": "name-too-long"}
    is_beyond = value in ("x" * 129, 10**7, 1e300)
    code = codes.get(field, "invalid-input") if is_beyond else "invalid-input"
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["detail"].startswith("step_timeout" if value == 1e-9 else f"{field}:")
