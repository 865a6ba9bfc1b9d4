"""Write `docs/openapi.json`: what the API that `serve` mounts answers at `/api/workflows/openapi.json`.

python tools/write_openapi.py
"""

import json
from pathlib import Path

from pylon_workflows.api.openapi import document
from pylon_workflows.server import PREFIX

FILE = Path(__file__).resolve().parent.parent / "docs" / "openapi.json"


def text() -> str:
    """The document as the file holds it."""
    return json.dumps(document(PREFIX), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
