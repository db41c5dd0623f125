"""`make demo` by its phases, and what of it is ours: not the interpreter, nor moto's start, nor the script."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

from benchmarks.measure import ROOT, Aim, Row, alone, contestant, interleaved, run, seconds, told

INSTANCES = 3
SCRIPT = ROOT / "examples" / "deploy_with_files_example.sh"
WORDS = {
    "interpreter": "the interpreter",
    "imports": "importing ssm-deploy and its libraries",
    "settings and files": "settings, reading the folder",
    "sandbox": "the sandbox's start",
    "resolve": "finding the targets",
    "plan": "the plan",
    "stage": "staging",
    "send": "sending",
    "verdicts": "until the last verdict",
    "clean": "emptying the staging",
    "end": "ending the sandbox and the process",
}


def rows(rounds: int) -> Iterator[Row]:
    measured: dict[str, list[Any]] = interleaved(
        {"example": _example, "moto": partial(run, contestant("moto", INSTANCES)), "scripts": _scripts}, rounds
    )
    phases = measured["example"]
    for phase, words in WORDS.items():
        yield alone(f"example: {words}", [each[phase] for each in phases], seconds)
    moto = [cost.wall for cost in measured["moto"]]
    yield alone("example: all of it", [sum(each.values()) for each in phases], seconds)
    yield alone("  moto alone: interpreter, import, account, first answers", moto, seconds)
    yield alone(f"  the script alone, {INSTANCES} at a time", measured["scripts"], seconds)
    others = zip(phases, moto, measured["scripts"], strict=True)
    ours = [sum(each.values()) - each["interpreter"] - start - scripts for each, start, scripts in others]
    yield alone("  the rest, without the interpreter: ours", ours, seconds, Aim(1))


def _example() -> dict[str, float]:
    """Seconds of each phase."""
    started = time.time()
    ends = {**told(contestant("example", started)), "end": time.time() - started}
    return {phase: after - before for (_, before), (phase, after) in pairwise([("", 0.0), *ends.items()])}


def _scripts() -> float:
    """Seconds that the script takes without us."""
    with tempfile.TemporaryDirectory() as folder:
        homes = [f"{folder}/{number}" for number in range(INSTANCES)]
        begin = time.perf_counter()
        for process in [_script(home) for home in homes]:
            process.wait()
        return time.perf_counter() - begin


def _script(home: str) -> "subprocess.Popen[bytes]":
    environment = {"PATH": os.environ["PATH"], "HOME": home, "DEPLOY_FILES_DIR": str(ROOT / "files")}
    return subprocess.Popen([SCRIPT, "one", "two words"], env=environment, stdout=subprocess.DEVNULL)
