from typing import Any

import httpx
import jsonschema
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from still_engine import StillEngine

from pylon_workflows.api.app import create_app
from pylon_workflows.api.openapi import OPERATIONS
from runner_protocol.messages import Complete, Fail, Sleep, StepComplete


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    value: dict[str, Any] = (await client.get("/openapi.json")).json()
    return value


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [found for member in value.values() for found in references(member)]
    return [found for member in value for found in references(member)] if isinstance(value, list) else []


async def test_the_document_describes_every_route_and_no_other(client: httpx.AsyncClient) -> None:
    app = create_app(StillEngine())
    assert isinstance(app, Starlette)
    paths = {route.path.replace(":path", "") for route in app.routes if isinstance(route, Route)} - {"/{rest}"}
    assert {path for path, _ in OPERATIONS} == paths
    for path in paths:
        refused = await client.request("BREW", path.replace("{id}", "wf_x").replace("{key}", "approval:gate"))
        allowed = refused.headers["allow"].split(", ")
        described = {method.upper() for where, method in OPERATIONS if where == path}
        assert described == set(allowed) - {"HEAD"}


def test_the_document_is_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert set(document) == {"openapi", "info", "servers", "paths", "components"}
    assert set(document["info"]) == {"title", "version"}
    seen = set()
    for path, operations in document["paths"].items():
        assert path.startswith("/")
        for method, operation in operations.items():
            assert method in ("get", "post", "delete")
            assert set(operation) <= {"operationId", "summary", "security", "parameters", "requestBody", "responses"}
            seen.add(operation["operationId"])
            named = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"}
            assert named == {name for name in ("id", "key") if f"{{{name}}}" in path}
            for status, response in operation["responses"].items():
                assert status == "default" or status.isdigit()
                assert response["description"]
    assert len(seen) == len(OPERATIONS)


def test_every_reference_leads_to_a_schema_and_every_schema_is_one(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert {found.removeprefix("#/components/schemas/") for found in references(document)} == set(schemas)
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)


async def test_the_answers_are_what_the_document_says(
    client: httpx.AsyncClient, engine: StillEngine, document: dict[str, Any]
) -> None:
    def check(answer: httpx.Response, path: str, method: str) -> None:
        responses = document["paths"][path][method]["responses"]
        response = responses.get(str(answer.status_code), responses["default"])
        schema = response["content"][answer.headers["content-type"]]["schema"]
        jsonschema.validate(answer.json(), {**schema, "components": document["components"]})

    start = {"name": "onboarding", "id": "a", "idempotency_key": "k"}
    for _ in range(2):
        check(await client.post("/start", json=start), "/start", "post")
    await engine.apply("a", StepComplete(step_name="x", output=1))
    await engine.apply("a", Fail(step_name="y", error="e"))
    await engine.start_or_find("onboarding", id="b")
    await engine.apply("b", Sleep(duration="1h"))
    await engine.start_or_find("onboarding", id="c")
    await engine.apply("c", Complete(output={}))
    for each in ("a", "b", "c"):
        check(await client.get(f"/{each}"), "/{id}", "get")
        check(await client.get(f"/{each}/history"), "/{id}/history", "get")
    check(await client.get("/"), "/", "get")
    check(await client.get("/?limit=0"), "/", "get")
    check(await client.get("/definitions"), "/definitions", "get")
    check(await client.post("/definitions", json={"name": "b"}), "/definitions", "post")
    check(await client.post("/a/event", json={"event": "e"}), "/{id}/event", "post")
    check(await client.post("/a/advance"), "/{id}/advance", "post")
    check(await client.post("/a/resume"), "/{id}/resume", "post")
    check(await client.post("/a/cancel"), "/{id}/cancel", "post")
    check(await client.get("/healthz"), "/healthz", "get")
    check(await client.get("/nobody"), "/{id}", "get")
