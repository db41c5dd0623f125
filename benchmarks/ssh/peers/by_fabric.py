"""Fabric's ThreadingGroup, which has a thread for each connection: `put`, and then `run` through the same ones."""

from fabric import Config, Connection, ThreadingGroup

from benchmarks.ssh.peers.common import ARCHIVE, HOST, KEY, PLACED, PORTS, USER, pack, tell

# No ssh_config to read, no agent and no other keys to try.
config = Config(lazy=True, overrides={"load_ssh_configs": False})
settings = {"key_filename": KEY, "look_for_keys": False, "allow_agent": False}
with ThreadingGroup.from_connections(
    [Connection(HOST, user=USER, port=port, config=config, connect_kwargs=settings) for port in PORTS]
) as group:
    group.put(str(pack()), ARCHIVE)
    done = group.run(PLACED, hide=True, in_stream=False)
    tell((connection.port, result.exited, result.stdout) for connection, result in done.items())
