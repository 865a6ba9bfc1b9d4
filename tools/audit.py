"""Whether a pinned package has a known vulnerability: exits with 0 (none), 1 (some), or 2 (nobody could be asked).

python tools/audit.py
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = ("demo.txt", "dev.txt", "audit.txt")
UNREACHABLE = ("ConnectionError", "ServiceError", "Max retries exceeded", "NameResolution", "Connection refused")


def main() -> int:
    """Ask about each file."""
    outcome = 0
    for name in FILES:
        asked = subprocess.run(
            (*(sys.executable, "-m", "pip_audit"), *("--disable-pip", "-r", str(ROOT / "requirements" / name))),
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode == 0:
            print(f"requirements/{name}: no known vulnerability")
        elif any(word in asked.stderr for word in UNREACHABLE):
            print(f"requirements/{name}: NOT AUDITED, the database of vulnerabilities cannot be reached from here")
            return 2
        else:
            print(f"requirements/{name}:\n{asked.stdout}{asked.stderr}")
            outcome = 1
    return outcome


if __name__ == "__main__":
    sys.exit(main())
