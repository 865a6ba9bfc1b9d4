"""A runner that a test steers through files in a folder: `python held_runner.py FOLDER`.

`hold` runs one step that notes when it begins (`begun`) and ends when the file `release` is there. `changing` names its
first step after what the file `step` holds, as code does that changes under an instance.
"""

import sys
import time
from pathlib import Path

from runner_protocol import Context, Runner, workflow

FOLDER = Path(sys.argv[1])


def held() -> str:
    with (FOLDER / "begun").open("a") as begun:
        begun.write("begun\n")
    while not (FOLDER / "release").exists():
        time.sleep(0.01)
    return "released"


@workflow("hold")
async def hold(ctx: Context, input: object) -> str:
    return str(await ctx.step("held", held))


@workflow("changing")
async def changing(ctx: Context, input: object) -> str:
    await ctx.step((FOLDER / "step").read_text(), lambda: None)
    await ctx.wait_for_event("go")
    return "gone"


if __name__ == "__main__":
    Runner([hold, changing]).serve(port=0)
