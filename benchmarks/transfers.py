"""Packing and uploading, alone and together, against a sandbox's S3."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session

from benchmarks.measure import MIB, interleaved
from ssm_deployer.aws import Aws
from ssm_deployer.bundle import pack, scan
from ssm_deployer.sandbox.faults import CONTROL_PATH, Faults, Rule
from ssm_deployer.sandbox.launch import Account, throwaway
from ssm_deployer.staging import Staging

SLOW = Rule(operation="s3:PUT", fault="slow", seconds=0.5)
TICKS = os.sysconf("SC_CLK_TCK")

Taken = dict[str, float]


@dataclass(frozen=True)
class Bench:
    """A sandbox, a tree, and the tree packed."""

    account: Account
    tree: Path
    packed: Path

    def compare(self, rounds: int) -> dict[str, list[Taken]]:
        """What each takes, round by round: seconds by the clock, and seconds of CPU, the server's among them."""
        contestants = {"pack": self._pack, "upload": self._upload, "both": self.both}
        return interleaved({name: partial(self._measured, work) for name, work in contestants.items()}, rounds)

    def slow_down(self) -> None:
        """Let S3 answer each part late, as one does that is far away."""
        account = self.account
        request = AWSRequest(
            "POST", account.endpoint_url + CONTROL_PATH, data=msgspec.json.encode(Faults(rules=(SLOW,)))
        )
        SigV4Auth(Credentials(account.access_key, account.secret_key), "ssm", account.region).add_auth(request)
        answer = URLLib3Session().send(request.prepare())
        assert answer.status_code == 200, answer.text

    def _measured(self, work: Callable[[], None]) -> Taken:
        cpu, wall = self._cpu(), time.perf_counter()
        work()
        taken = {"wall": time.perf_counter() - wall, "cpu": self._cpu() - cpu}
        self._staging().empty()
        return taken

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self.account.pid}/stat").read_text().rpartition(")")[2].split()
        return time.process_time() + (int(fields[11]) + int(fields[12])) / TICKS

    def _pack(self) -> None:
        with Path("/dev/null").open("wb") as sink:
            pack(scan(self.tree), sink)

    def _upload(self) -> None:
        with self.packed.open("rb") as source:
            self._put(lambda sink: shutil.copyfileobj(source, sink, MIB))

    def both(self) -> None:
        self._put(lambda sink: pack(scan(self.tree), sink))

    def _put(self, write: Callable[[BinaryIO], Any]) -> None:
        for _ in self._staging().put_stream("bundle.tar.gz", write):
            pass

    def _staging(self) -> Staging:
        account = self.account
        identity = (account.access_key, account.secret_key)
        aws = Aws(region=account.region, credentials=identity, endpoint_url=account.endpoint_url)
        return Staging(aws.client("s3"), account.bucket, "benchmark")


def of(tree: Path, rounds: int) -> dict[str, dict[str, list[Taken]]]:
    with throwaway(1) as account, tempfile.NamedTemporaryFile() as packed:
        pack(scan(tree), packed)  # type: ignore[arg-type]  # its `write` is all that is used
        packed.flush()
        bench = Bench(account, tree, Path(packed.name))
        fast = bench.compare(rounds)
        bench.slow_down()
        return {"fast": fast, "slow": bench.compare(rounds)}


def peak(tree: Path) -> int:
    """Bytes of memory that packing into the upload takes at the most, over what this process has before."""
    with throwaway(1) as account:
        bench = Bench(account, tree, tree)
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak
        before = _status("VmRSS")
        bench.both()
        return _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
