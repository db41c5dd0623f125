"""parallel-ssh's native client: `scp_send`, which its documentation calls the fastest, and `run_command`.

It does not look at host keys.
"""

from gevent import joinall
from pssh.clients import ParallelSSHClient
from pssh.config import HostConfig

from benchmarks.ssh.peers.common import ARCHIVE, HOST, KEY, PLACED, PORTS, USER, WIDTH, pack, tell

configs = [HostConfig(port=port) for port in PORTS]
client = ParallelSSHClient(
    [HOST] * len(PORTS),
    user=USER,
    pkey=KEY,
    host_config=configs,
    pool_size=WIDTH,
    allow_agent=False,
    identity_auth=False,
)
joinall(client.scp_send(str(pack()), ARCHIVE), raise_error=True)
done = client.run_command(PLACED)
client.join(done)
tell((port, each.exit_code, "\n".join([*each.stdout, *each.stderr])) for port, each in zip(PORTS, done, strict=True))
