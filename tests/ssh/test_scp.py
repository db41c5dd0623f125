"""Files and commands apart: what is peculiar to `transfer: scp`, on real servers."""

import stat
from pathlib import Path

import pytest
from ssh.client import Client
from ssh.farm import Farm
from ssh.server import Server
from waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_as_the_farms_user")]


def copied(server: Server) -> list[Path]:
    return list((server.root / "root").glob(".ssm-deploy-*"))


def test_nobody_else_on_the_target_can_read_what_is_copied_to_it(farm: Farm, big: Path) -> None:
    server = farm.server(link=True, rate="10mbit")
    client = Client(farm, b"true\n", big, transfer="scp", arguments=["a secret"])
    handle = client.start(server)
    assert until(lambda: copied(server))
    modes = [stat.S_IMODE(path.stat().st_mode) for path in copied(server)]
    assert server.kill_sessions()
    client.finish(handle)
    modes += [stat.S_IMODE(path.stat().st_mode) for path in copied(server)]  # which nobody has removed
    assert modes == [0o600, 0o600]
