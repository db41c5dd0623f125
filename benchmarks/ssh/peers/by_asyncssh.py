"""asyncssh: the archive on the command's stdin, WIDTH connections at once in one event loop."""

import asyncio

import asyncssh

from benchmarks.ssh.peers.common import HOST, KEY, KNOWN_HOSTS, PORTS, STREAMED, USER, WIDTH, pack, tell


async def one(port: int, bundle: bytes, free: asyncio.Semaphore) -> tuple[int, int, str]:
    async with (
        free,
        asyncssh.connect(
            HOST, port, username=USER, client_keys=[KEY], known_hosts=KNOWN_HOSTS, config=None, agent_path=None
        ) as connection,
    ):
        done = await connection.run(STREAMED, input=bundle, encoding=None)
        return port, done.exit_status, (done.stdout + done.stderr).decode()


async def every(bundle: bytes) -> list[tuple[int, int, str]]:
    free = asyncio.Semaphore(WIDTH)
    return await asyncio.gather(*(one(port, bundle, free) for port in PORTS))


tell(asyncio.run(every(pack().read_bytes())))
