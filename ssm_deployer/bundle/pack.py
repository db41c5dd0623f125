"""From a bundle to the bytes that are sent."""

import hashlib
from typing import BinaryIO

from ssm_deployer.bundle.deflate import GzipWriter
from ssm_deployer.bundle.tar import TarWriter
from ssm_deployer.bundle.tree import Bundle
from ssm_deployer.model import Packed


def pack(bundle: Bundle, sink: BinaryIO) -> Packed:
    """Write a bundle as tar.gz while its files are read, in a few megabytes of memory whatever its size.

    Args:
        bundle: of `scan`.
        sink: only its `write` is used; it is not closed.

    Raises:
        UsageError: a file changed, or vanished, since the tree was read. The stream then has no end, so that nothing
            takes it for a whole one.
        OSError: the sink refused.
    """
    content = hashlib.sha256()
    with GzipWriter(sink) as gzip:

        def emit(block: memoryview) -> None:
            gzip.write(block)  # before the digest: the compressor's threads work meanwhile
            content.update(block)

        tar = TarWriter(bundle.folder, emit)
        for entry in bundle.entries:
            tar.add(entry)
        tar.finish()
        gzip.finish()
    return Packed(
        size=gzip.size,
        sha256=gzip.sha256,
        content_sha256=content.hexdigest(),
        unpacked_size=bundle.unpacked_size,
    )
