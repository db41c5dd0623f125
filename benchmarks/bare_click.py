"""The least that a click program with these commands can be."""

import click


@click.group()
@click.version_option("1", prog_name="bare")
def root() -> None:
    """A program with the commands of another one."""


def _command() -> None:
    """Do nothing."""


for name in ("upload-script", "targets", "sandbox", "init", "help"):
    root.command(name)(_command)

if __name__ == "__main__":
    root(prog_name="bare")
