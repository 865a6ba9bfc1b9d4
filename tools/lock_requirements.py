"""Write `requirements/*.txt` anew: every package pinned, with the hashes of all its files, for all our platforms.

    python tools/lock_requirements.py

Needs `uv` and the package index that it is set up for; no index is named in what it writes. A file holds what
`pip install --require-hashes -r` takes, on Linux and macOS and from Python 3.11 on.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Written by `make requirements`. Every package is pinned, with the hashes of its files.\n"
FILES = {
    "dev.txt": ("--extra", "fast", "--group", "build", "--group", "dev"),
    "demo.txt": ("--extra", "fast", "--group", "build"),
    "wheel.txt": (),
    "audit.txt": ("--group", "build", "--group", "audit"),
}
"""What each file holds beside the package's own dependencies, the largest first: the others agree with it."""


def main() -> int:
    """Resolve each file after the one before it, so that they agree."""
    folder = ROOT / "requirements"
    folder.mkdir(exist_ok=True)
    constraints: list[str] = []
    for name, more in FILES.items():
        with tempfile.NamedTemporaryFile("r", suffix=".txt") as output:
            subprocess.run(
                (
                    *("uv", "pip", "compile", "pyproject.toml", "--quiet", "--universal", "--python-version", "3.11"),
                    *("--generate-hashes", "--no-header", "--no-annotate", "--strip-extras", "--upgrade"),
                    *more,
                    *constraints,
                    *("--output-file", output.name),
                ),
                cwd=ROOT,
                check=True,
            )
            text = Path(output.name).read_text()
        if "://" in text:
            print(f"{name}: names an index")
            return 1
        (folder / name).write_text(HEADER + text)
        if not constraints:
            constraints = ["--constraints", str(folder / name)]
        print(f"{name}: {text.count('==')} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
