"""`ssm-deploy help [COMMAND]`: the same as `--help`, for those who try that first."""

import click


@click.command("help")
@click.argument("names", nargs=-1, metavar="[COMMAND]")
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Show the help of a command."""
    assert ctx.parent is not None  # noqa: S101 - click calls a subcommand below its group
    chosen: click.Command = ctx.parent.command
    shown = ctx.parent
    for name in names:
        found = chosen.get_command(shown, name) if isinstance(chosen, click.Group) else None
        if found is None:
            raise click.UsageError(f"No such command '{' '.join(names)}'.", ctx=ctx.parent)
        chosen, shown = found, click.Context(found, info_name=name, parent=shown)
    click.echo(chosen.get_help(shown))
