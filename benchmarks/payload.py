"""A script run by the payload, fetched and by stdin, with files, arguments and environment, beside the script alone."""

import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

from payload.rig import RUN, Rig, Store
from test_payload import recipe, url

from benchmarks.measure import Aim, Row, added, alone, interleaved, milliseconds, number
from ssm_deployer.payload import build

SCRIPT = "#!/bin/sh\necho hello\n"
TOKEN = "t" * 1200  # about what an assumed role has
TURNS = 4  # in each round: these are short


def rows(rounds: int) -> Iterator[Row]:
    store = Store()
    with tempfile.TemporaryDirectory() as folder:
        rigs = {way: Rig(Path(folder) / way, store, way) for way in ("fetched", "streamed")}
        for rig in rigs.values():
            rig.root.mkdir()
        contestants = {way: partial(_through_the_payload, rig, count()) for way, rig in rigs.items()}
        taken = interleaved({**contestants, "direct": partial(_directly, rigs["fetched"])}, rounds * TURNS)
        for rig in rigs.values():
            rig.settle()
    store.close()
    for way, name in {"fetched": "the payload", "streamed": "the payload by stdin"}.items():
        for kind, (what, aim) in {"wall": ("by the clock", Aim(0.150)), "cpu": ("of CPU", None)}.items():
            ours, direct = ([each[kind] for each in taken[who]] for who in (way, "direct"))
            yield added(f"a script through {name}, {what}", ours, "the script alone", direct, milliseconds, aim)
    sources = {name: url(name, TOKEN) for name in ("script", "bundle", "inputs")}
    yield alone("bytes of the payload, everything on", [len(build(recipe(**sources)))], number, Aim(16_384))


def _through_the_payload(rig: Rig, numbers: "count[int]") -> dict[str, float]:
    run_id = f"{RUN}-{next(numbers)}"  # of its own, or the lock would refuse it
    text = build(rig.recipe(SCRIPT, files={"a": b"x"}, args=["a"], environ={"A": "b"}, run_id=run_id))
    return _measured(lambda: rig.execute(text).code)


def _directly(rig: Rig) -> dict[str, float]:
    return _measured(partial(rig.execute_plain, SCRIPT))


def _measured(work: Callable[[], object]) -> dict[str, float]:
    cpu, wall = _cpu_of_children(), time.perf_counter()
    work()
    return {"cpu": _cpu_of_children() - cpu, "wall": time.perf_counter() - wall}


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
