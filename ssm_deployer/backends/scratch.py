"""A private folder for the files that foreign programs need while a run lasts."""

import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired

PATIENCE_SECONDS = 10
# It waits for the end of a pipe that only we hold, so it also outlives us when we are killed. What a terminal sends to
# all of a job it does not get, in a session of its own.
_REMOVER = 'read -r _; rm -rf -- "$1"'


class Scratch:
    """A folder that only its owner can enter; `close` removes it, and so does the end of this process, of any kind.

    It is made when it is first asked for.
    """

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._folder: Path | None = None
        self._remover: Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        """Where files may be put."""
        with self._making:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="ssm-deploy-"))
                self._remover = _remover(self._folder)
            return self._folder

    def close(self) -> Sequence[str]:
        """Remove the folder; say what is left. May be repeated."""
        with self._making:
            if self._folder is None:
                return ()
            shutil.rmtree(self._folder, ignore_errors=True)
            left = [*_end(self._remover), *([f"{self._folder} could not be removed"] if self._folder.exists() else [])]
            if not left:
                self._folder = self._remover = None
            return left


def _remover(folder: Path) -> Popen[bytes]:
    argv = [shutil.which("sh") or "/bin/sh", "-c", _REMOVER, "sh", str(folder)]
    return Popen(argv, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True)


def _end(remover: Popen[bytes] | None) -> Sequence[str]:
    if remover is not None:
        try:
            remover.communicate(timeout=PATIENCE_SECONDS)  # closes the pipe first
        except TimeoutExpired:
            return (f"the process {remover.pid}, which waits to remove files, does not end",)
    return ()
