"""A runner that a test steers through files in a folder: `python held_runner.py FOLDER`.

`hold` runs one step that notes when it begins (`begun`) and ends when the file `release` is there; `hold_and_go_on` has
a second one, that notes its instance's id (`went_on`). `changing` names its
first step after what the file `step` holds, as code does that changes under an instance.
"""

import sys
import time
from pathlib import Path

from runner_protocol import Context, Runner, workflow

FOLDER = Path(sys.argv[1])


def note(name: str, line: str) -> None:
    with (FOLDER / name).open("a") as notes:
        notes.write(f"{line}\n")


def held() -> str:
    note("begun", "begun")
    while not (FOLDER / "release").exists():
        time.sleep(0.01)
    return "released"


@workflow("hold")
async def hold(ctx: Context, input: object) -> str:
    return str(await ctx.step("held", held))


@workflow("hold_and_go_on")
async def hold_and_go_on(ctx: Context, input: object) -> None:
    await ctx.step("held", held)
    await ctx.step("go on", lambda: note("went_on", ctx.workflow_id))


@workflow("changing")
async def changing(ctx: Context, input: object) -> str:
    await ctx.step((FOLDER / "step").read_text(), lambda: None)
    await ctx.wait_for_event("go")
    return "gone"


if __name__ == "__main__":
    Runner([hold, hold_and_go_on, changing]).serve(port=0)
