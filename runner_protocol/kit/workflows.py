"""The workflows of a runner: each name in as many versions as are still needed."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from runner_protocol.kit.workflow import Workflow
from runner_protocol.messages import Description
from runner_protocol.strict_json import encode_parsed

_DISTRIBUTION = "pylon-workflows"


class Workflows:
    """The workflows that were given, by name and version.

    Raises:
        TypeError: something given is no workflow.
        ValueError: two have one name and one version.
    """

    def __init__(self, given: Iterable[Workflow]) -> None:
        self._versions: dict[str, dict[str | None, Workflow]] = {}
        for workflow in given:
            if not isinstance(workflow, Workflow):
                raise TypeError(f'{workflow!r} is no workflow: decorate it with @workflow("name")')
            versions = self._versions.setdefault(workflow.name, {})
            if workflow.version in versions:
                shown = "" if workflow.version is None else f", version {workflow.version!r}"
                raise ValueError(f"two workflows are named {workflow.name!r}{shown}")
            versions[workflow.version] = workflow

    def find(self, name: str, version: str | None) -> Workflow | str:
        """The workflow that a request asks for, or why there is none.

        Without a version it is the one that has none, else the one given last. A workflow that is there once, without a
        version, serves all versions: its author has not begun to count.
        """
        versions = self._versions.get(name)
        if versions is None:
            return f"unknown workflow {name!r}"
        if version in versions:
            return versions[version]
        if version is None:
            return list(versions.values())[-1]
        if set(versions) == {None}:
            return versions[None]
        return f"unknown version {version!r} of workflow {name!r}"

    def describe(self) -> bytes:
        """All of them, as the answer to `describe`."""
        every = [workflow.described() for versions in self._versions.values() for workflow in versions.values()]
        description = Description(workflows=every, kit=f"python/{_kit_version()}")
        return encode_parsed(description.model_dump(exclude_none=True))


def _kit_version() -> str:
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:  # run from its sources
        return "0"
