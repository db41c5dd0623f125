"""ssh2-python, which is libssh2: the archive on the command's stdin, in WIDTH threads; it lets go of Python's lock.

It is told not to look at host keys, which would be a few lines more.
"""

import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from ssh2.session import Session

from benchmarks.ssh.peers.common import HOST, KEY, PORTS, STREAMED, USER, WIDTH, pack, tell

PIECE = 1 << 18


def one(bundle: bytes, port: int) -> tuple[int, int, str]:
    with socket.create_connection((HOST, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = Session()
        session.handshake(connection)
        session.userauth_publickey_fromfile(USER, KEY)
        channel = session.open_session()
        channel.execute(STREAMED)
        for first in range(0, len(bundle), PIECE):
            channel.write(bundle[first : first + PIECE])
        channel.send_eof()
        output = b""
        while (piece := channel.read())[0] > 0:
            output += piece[1]
        channel.wait_eof()
        channel.close()
        channel.wait_closed()
        code = channel.get_exit_status()
        session.disconnect()
    return port, code, output.decode()


content = pack().read_bytes()
with ThreadPoolExecutor(WIDTH) as pool:
    tell(list(pool.map(partial(one, content), PORTS)))
