"""The command line, `pylon-workflows`.

Exit statuses: 0 done, 1 the server said no (or did not start, or the awaited instance did not complete), 2 wrong usage,
3 no server answers. `doctor` has its own.
"""

import click

from pylon_workflows.cli.approvals import APPROVAL_COMMANDS
from pylon_workflows.cli.backup import backup, restore
from pylon_workflows.cli.commands import CLIENT_COMMANDS
from pylon_workflows.cli.diagnosis import doctor
from pylon_workflows.cli.exchange import export_instance, import_instance
from pylon_workflows.cli.publishing import PUBLISH_COMMANDS
from pylon_workflows.cli.schedules import schedule
from pylon_workflows.cli.serving import demo, serve
from pylon_workflows.cli.tokens import token
from pylon_workflows.cli.why import why


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pylon-workflows", prog_name="pylon-workflows")
def main() -> None:
    """Durable workflows: serve an engine, and see and steer its instances."""


for command in (
    serve,
    demo,
    *CLIENT_COMMANDS,
    *APPROVAL_COMMANDS,
    *PUBLISH_COMMANDS,
    export_instance,
    import_instance,
    backup,
    restore,
    schedule,
    token,
    why,
):
    main.add_command(command)
main.add_command(doctor)

__all__ = ["main"]
