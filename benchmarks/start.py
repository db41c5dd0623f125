"""From the start of a process to its help, its completions and its first call to AWS."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.measure import ROOT, Aim, Row, compared, interleaved, run, seconds

OURS = [str(Path(sys.executable).with_name("ssm-deploy"))]
CLICK = [sys.executable, str(ROOT / "benchmarks" / "bare_click.py")]
BOTO = [sys.executable, str(ROOT / "benchmarks" / "bare_boto.py")]
TARGET = "i-0123456789abcdef0"
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "an-example-secret",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
COMPLETIONS = {"of a command": "up", "of all commands": "", "of an option": "upload-script --de"}
PATIENCE = 60.0  # seconds; a contestant that makes no call at all must not hang the rest
TURNS = 4  # in each round: these are short


def rows(rounds: int) -> Iterator[Row]:
    yield _help(rounds * TURNS)
    for words, typed in COMPLETIONS.items():
        yield _completion(f"shell completion {words}", typed, rounds * TURNS)
    with tempfile.TemporaryDirectory() as folder:
        yield from _first_calls(Path(folder), rounds * TURNS)


def _help(turns: int) -> Row:
    pair = {name: partial(_wall, [*command, "--help"], {}) for name, command in (("ours", OURS), ("bare", CLICK))}
    taken = interleaved(pair, turns)
    return compared("ssm-deploy --help", taken["ours"], "a bare click program", taken["bare"], seconds, Aim(1.5))


def _completion(what: str, typed: str, turns: int) -> Row:
    pair = {
        "ours": partial(_wall, OURS, _completing("ssm-deploy", "_SSM_DEPLOY_COMPLETE", typed)),
        "bare": partial(_wall, CLICK, _completing("bare", "_BARE_COMPLETE", typed)),
    }
    taken = interleaved(pair, turns)
    return compared(what, taken["ours"], "a bare click program", taken["bare"], seconds, Aim(1.5))


def _completing(program: str, variable: str, typed: str) -> dict[str, str]:
    words = f"{program} {typed}"
    return {variable: "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}


def _wall(command: Sequence[str], environment: dict[str, str]) -> float:
    return run(command, env=ENVIRONMENT | environment, stdout=subprocess.DEVNULL).wall


def _first_calls(folder: Path, turns: int) -> Iterator[Row]:
    script = folder / "s.sh"
    script.write_text("#!/bin/sh\n")
    commands = {
        "upload-script to its first call": [*OURS, "upload-script", str(script), "-t", TARGET, "--bucket", "x"],
        "targets to its first call": [*OURS, "targets", "-t", TARGET],
    }
    contestants = {**commands, "bare": BOTO}
    taken = interleaved({name: partial(_first_call, command, folder) for name, command in contestants.items()}, turns)
    for name in commands:
        rival = "importing boto3, making that client"
        yield compared(name, taken[name], rival, taken["bare"], seconds, Aim(1.3))


def _first_call(command: Sequence[str], folder: Path) -> float:
    """Seconds from the start of a process to its first connection; it is ended then."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        endpoint = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{listener.getsockname()[1]}"}
        begin = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=ENVIRONMENT | endpoint, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            connection, _ = listener.accept()
            taken = time.perf_counter() - begin
            connection.close()
        finally:
            process.kill()
            process.wait()
    return taken
