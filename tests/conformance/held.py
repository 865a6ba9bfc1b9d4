"""Which workflow a request is for."""

from typing import Any

from runner_protocol.conformance.workflows import VERSIONS, WORKFLOWS, WorkflowFunction


def held(request: dict[str, Any]) -> WorkflowFunction | str:
    """The function that a request is for, or why there is none."""
    name, version = request["workflow_name"], request.get("workflow_version")
    if name in WORKFLOWS:
        return WORKFLOWS[name]
    if name not in VERSIONS:
        return f"unknown workflow '{name}'"
    versions = VERSIONS[name]
    if version is None:
        return list(versions.values())[-1]
    return versions.get(version, f"unknown version '{version}' of workflow '{name}'")


def description() -> dict[str, Any]:
    """All of them."""
    workflows: list[dict[str, Any]] = [{"name": name} for name in WORKFLOWS]
    workflows += [{"name": name, "version": version} for name, versions in VERSIONS.items() for version in versions]
    return {"action": "description", "protocol": 2, "workflows": workflows, "kit": "reference/1"}
