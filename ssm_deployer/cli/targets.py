"""`ssm-deploy targets`: whom a deployment would be for."""

from typing import Any

from ssm_deployer.cli.screen import console
from ssm_deployer.cli.wire import place, settings_from
from ssm_deployer.errors import NoTargets
from ssm_deployer.views.table import TargetsTable


def targets(options: dict[str, Any]) -> None:
    """Find them and print the table."""
    with place(options, settings_from(options)) as here:
        resolution = here.resolve()
        screen = console()
        if not resolution.targets and not resolution.left_out:
            raise NoTargets(here.nobody(resolution), here.look)
        for note in resolution.notes:
            screen.print(f"note: {note}", style="yellow", markup=False)
        screen.print(TargetsTable([*resolution.targets, *resolution.left_out]))
