"""One contestant's turn: does its job once, is measured, and is checked."""

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import ROOT
from benchmarks.ssh.field import PROGRAM, PYTHON, Contestant
from benchmarks.ssh.ground import Ground
from benchmarks.ssh.job import ARCHIVE, PLACED, STREAMED, STREAMED_GZIP, Job
from benchmarks.ssh.usage import Look, Usage

LIMIT = 120.0  # seconds that a turn may take
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MEASURER = [sys.executable, "-I", "-S", str(Path(__file__).with_name("usage.py"))]
COMPRESS = "gzip -1"  # for all but ours, which has its own: the level that suits a network that costs nothing
# How ours is told what OpenSSH is told by its configuration.
EXCHANGES = {"default": "default", "curve25519": "fast"}


@dataclass(frozen=True)
class Outcome:
    """What a turn took, and what is wrong with what came of it."""

    usage: Usage
    wrong: str


def take(
    contestant: Contestant, ground: Ground, job: Job, exchange: str, look: float = 0.0, limit: float = LIMIT
) -> Outcome:
    """Let it run for `limit` seconds at the most, and look at its memory every `look` seconds, if that is not 0."""
    ground.forget()
    out = ground.folder / "out"
    out.mkdir()
    report = ground.folder / "usage.json"
    with (out / "said").open("wb") as said:
        command = [*MEASURER, str(report), str(limit), str(look), *contestant.command]
        environment = _environment(contestant, ground, job, exchange)
        measurer = subprocess.run(command, cwd=ROOT, env=environment, stdout=said, stderr=said, check=False)
    if measurer.returncode:  # somebody else's doing: it is no figure, and no reason to lose those of the others
        usage = Usage(code=measurer.returncode)
    else:
        usage = Usage(**json.loads(report.read_text()))
        usage.look = Look(**vars(usage)["look"])
    wrong = _wrong(usage, ground, job, out)
    if wrong:
        ground.tidy()
        kept = Path(tempfile.mkdtemp(prefix=f"bench-ssh-{contestant.name}-"))
        shutil.copytree(out, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock", "cp", "bundle"))
        print(f"{contestant.words}: {wrong}; what it said is in {kept}", file=sys.stderr)
    shutil.rmtree(out)
    return Outcome(usage, wrong)


def _wrong(usage: Usage, ground: Ground, job: Job, out: Path) -> str:
    if usage.expired:
        return f"took {usage.wall:.0f} s, which is too long"
    if usage.code:
        return f"ended with {usage.code}"
    told = "\n".join(path.read_text(errors="replace") for path in out.rglob("*") if path.is_file())
    silent = sum(job.said(server.name) not in told for server in ground.servers)
    return ground.wrong(job) or (f"does not tell what {silent} targets said" if silent else "")


def _environment(contestant: Contestant, ground: Ground, job: Job, exchange: str) -> dict[str, str]:
    places = {
        "HOME": ground.home,
        "PROGRAM": PROGRAM,
        "BIN": PYTHON.parent,
        "JOB": job.folder,
        "OUT": ground.folder / "out",
        "KEY": ground.key,
        "KNOWN_HOSTS": ground.known_hosts,
        "CONFIG": ground.folder / f"config.{exchange}",
        "NAMES": ground.folder / f"names.{exchange}",
        "PORTS": ground.folder / "ports",
        "HOSTS": ground.folder / "hosts",
        "INVENTORY": ground.folder / "inventory",
        "INVENTORY_INI": ground.folder / "inventory.ini",
    }
    words = {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "WIDTH": str(contestant.width),
        "NUMBER": str(len(ground.servers)),
        "COMPRESS": COMPRESS,
        "ARCHIVE": ARCHIVE,
        "PLACED": PLACED,
        "STREAMED": STREAMED,
        "STREAMED_GZIP": STREAMED_GZIP,
        "SSM_DEPLOY_SSH_KEY_EXCHANGE": EXCHANGES[exchange],
    }
    return {name: str(value) for name, value in places.items()} | words
