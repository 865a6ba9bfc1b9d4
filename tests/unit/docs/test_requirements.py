"""The pinned files hold what pyproject.toml asks for, each package with its hashes, and name no index."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[3]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINNED = re.compile(r"^(?P<name>[a-z0-9.-]+)==(?P<version>[^ ;\\]+)(?P<rest>.*(?:\n    --hash=.*)*)", re.MULTILINE)

WANTED = {
    "demo.txt": ("build",),
    "dev.txt": ("build", "dev"),
    "audit.txt": ("build", "audit"),
}


def wanted(groups: tuple[str, ...]) -> list[Requirement]:
    texts = [*PROJECT["project"]["dependencies"]]
    if "audit" not in groups:
        texts += PROJECT["project"]["optional-dependencies"]["fast"]
    for group in groups:
        texts += PROJECT["dependency-groups"][group]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("name", WANTED)
def test_every_package_is_pinned_and_hashed(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    pins = list(PINNED.finditer(text))  # some packages twice: one version for old Pythons, one for new ones
    found = {each["name"]: each for each in pins}
    assert "://" not in text
    assert "index-url" not in text
    assert all(each["rest"].count("--hash=sha256:") >= 1 for each in pins)
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", "    --hash="))]
    assert len(lines) == len(pins), "a line that pins nothing"
    for requirement in wanted(WANTED[name]):
        pinned = found[requirement.name.lower().replace("_", "-")]
        assert requirement.specifier.contains(pinned["version"]), f"make requirements: {requirement}"
