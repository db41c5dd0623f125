"""The job of every contestant: bring these files to every target, run this script beside them, tell what it said."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import trees

# It writes what it finds to a file that bears the name of its target.
SCRIPT = """\
#!/bin/sh
set -eu
{name}
cd "$DEPLOY_FILES_DIR"
find . -type f -exec sha256sum {{}} + >"{results}/$name"
echo "done $name: $(wc -l <"{results}/$name") files"
"""
ARCHIVE = "/tmp/ssm-deploy-bench.tar.gz"  # on a target
_RUN = 'DEPLOY_FILES_DIR=$d/files sh "$d/job.sh"; code=$?; rm -rf "$d"; exit "$code"'
# What the others run on a target: with the archive on stdin, as it is or compressed, or with the archive there.
STREAMED = f'd=$(mktemp -d) && tar -xf - -C "$d" && {_RUN}'
STREAMED_GZIP = f'd=$(mktemp -d) && tar -xzf - -C "$d" && {_RUN}'
PLACED = f'd=$(mktemp -d) && tar -xzf {ARCHIVE} -C "$d" && rm -f {ARCHIVE} && {_RUN}'


@dataclass(frozen=True)
class Payload:
    """So many bytes in so many files: pieces of Python's own library, which compress to about a quarter."""

    name: str
    files: int
    size: int


SMALL = Payload("3 small files", 3, 12_000)
LARGE = Payload("10 MB in 200 files", 200, 10_000_000)


@dataclass(frozen=True)
class Job:
    """A folder with `files/` and `job.sh`.

    Attributes:
        folder: where they are.
        payload: what the files are like.
        digests: the sha256 of each file, as every target must find it.
    """

    folder: Path
    payload: Payload
    digests: Mapping[str, str]

    @property
    def script(self) -> Path:
        return self.folder / "job.sh"

    @property
    def files(self) -> Path:
        return self.folder / "files"

    def said(self, name: str) -> str:
        """What the script prints on the target of that name."""
        return f"done {name}: {len(self.digests)} files"


def make(folder: Path, payload: Payload, name: str, results: str) -> Job:
    """Write a job's folder.

    Args:
        folder: where to.
        payload: what the files are to be like.
        name: lines of shell that set `name` to the target's.
        results: the folder, as a target sees it, that its script writes into.
    """
    files = folder / "files"
    trees.make(files, payload.size, payload.files)
    script = folder / "job.sh"
    script.write_text(SCRIPT.format(name=name, results=results))
    script.chmod(0o755)
    found = [Path(place, name) for place, _, names in os.walk(files) for name in names]
    digests = {str(path.relative_to(files)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
    return Job(folder, payload, digests)
