"""The pinned files hold what pyproject.toml asks for, each package with its hashes, and name no index."""

import json
import re
import subprocess
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[3]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINNED = re.compile(r"^(?P<name>[a-z0-9.-]+)==(?P<version>[^ ;\\]+)(?P<rest>.*(?:\n    --hash=.*)*)", re.MULTILINE)

MORE = {**PROJECT["project"]["optional-dependencies"], **PROJECT["dependency-groups"]}

WANTED = {
    "demo.txt": ("fast", "build"),
    "dev.txt": ("fast", "build", "dev"),
    "wheel.txt": (),
    "audit.txt": ("build", "audit"),
}
"""What each file holds beside the package's own dependencies."""


def wanted(more: tuple[str, ...]) -> list[Requirement]:
    texts = [*PROJECT["project"]["dependencies"], *(text for each in more for text in MORE[each])]
    return [Requirement(text) for text in texts]


def pins(name: str) -> set[tuple[str, str, tuple[str, ...]]]:
    """The packages of a file, their versions and hashes."""
    found = PINNED.finditer((ROOT / "requirements" / name).read_text())
    return {(each["name"], each["version"], tuple(re.findall(r"sha256:\w+", each["rest"]))) for each in found}


def canonical(requirement: Requirement) -> str:
    return requirement.name.lower().replace("_", "-")


@pytest.mark.parametrize("name", WANTED)
def test_every_package_is_pinned_and_hashed(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    pinned = list(PINNED.finditer(text))  # some packages twice: one version for old Pythons, one for new ones
    found = {each["name"]: each for each in pinned}
    assert "://" not in text
    assert "index-url" not in text
    assert all(each["rest"].count("--hash=sha256:") >= 1 for each in pinned)
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", "    --hash="))]
    assert len(lines) == len(pinned), "a line that pins nothing"
    for requirement in wanted(WANTED[name]):
        version = found[canonical(requirement)]["version"]
        assert requirement.specifier.contains(version), f"make requirements: {requirement}"


def test_what_the_sbom_lists_is_what_the_wheel_needs_when_it_runs_and_no_tool() -> None:
    needed: set[str] = set()
    to_ask = wanted(())
    while to_ask:
        requirement = to_ask.pop()
        is_for_here = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if is_for_here and canonical(requirement) not in needed:
            needed.add(canonical(requirement))
            to_ask += [Requirement(text) for text in requires(requirement.name) or ()]
    assert {name for name, *_ in pins("wheel.txt")} == needed
    assert not needed & {canonical(Requirement(text)) for text in MORE["build"]}
    assert pins("wheel.txt") <= pins("demo.txt")
    assert re.search(r"cyclonedx-py requirements .* requirements/wheel\.txt$", (ROOT / "Makefile").read_text(), re.M)


def test_the_lock_files_of_npm_name_no_registry_and_hash_what_comes_from_one() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "*package-lock.json"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(tracked) == 3
    for name in tracked:
        text = (ROOT / name).read_text()
        assert "://" not in text, name
        assert "omit-lockfile-registry-resolved=true" in (ROOT / name).with_name(".npmrc").read_text()
        packages = json.loads(text)["packages"]
        fetched = {path: each for path, each in packages.items() if "node_modules/" in path and not each.get("link")}
        assert fetched
        assert [path for path, each in fetched.items() if not each["integrity"].startswith("sha512-")] == []
