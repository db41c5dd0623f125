"""The whole of it under every shell that may stand for sh."""

import shutil
import subprocess
import time

import pytest
from payload.rig import Rig

from ssm_deployer.payload import build

pytestmark = pytest.mark.slow

WAYS = ("fetched", "streamed")
SHELLS = ["dash", "bash", "busybox", "ksh93", "mksh", "yash", "zsh"]


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, rig: Rig) -> str:
    """Make the target's `sh` this shell, which then keeps to POSIX by the name that it is called by."""
    name: str = request.param
    place = rig.root / "shell"
    place.mkdir()
    real = shutil.which(name)
    assert real, name
    (place / "sh").symlink_to(real)
    rig.shell, rig.path = str(place / "sh"), f"{place}:/usr/bin:/bin"
    return name


def test_files_arguments_and_environment(rig: Rig, shell: str) -> None:
    args = ["a b", "", "'\"$`\\", "line\nline", "{{ssm:x}}", "*", "-n", "\N{SNOWMAN}"]
    # See the test below.
    odd = b"\xff\x80\n'" if shell != "yash" else b"x\n'"
    script = "#!/usr/bin/python3\nimport os, sys\nprint(*[os.fsencode(a).hex() for a in sys.argv[1:]])\n"
    script += "print(os.environb[b'X'].hex(), sorted(os.listdir()), sorted(os.listdir('/proc/self/fd')))\n"
    outcome = rig.run(script, args=args, environ={"X": odd}, files={"file": b""})
    assert outcome.extract.splitlines() == [
        " ".join(arg.encode().hex() for arg in args),
        f"{odd.hex()} ['file'] ['0', '1', '2', '3']",
    ]
    assert (outcome.code, outcome.errors) == (0, "")


def test_bytes_that_are_no_text_are_read_or_refused(rig: Rig, shell: str) -> None:
    """yash keeps its input in wide characters, so that it cannot even read what is no text."""
    outcome = rig.run("#!/usr/bin/python3\nimport os, sys\nprint(os.fsencode(sys.argv[1]).hex())\n", args=[b"\xff\x80"])
    if shell == "yash":
        assert (outcome.record.error, outcome.extract) == ("setup", "")
        assert outcome.record.detail == "this shell cannot read arguments that are no text"
    else:
        assert outcome.extract == "ff80\n"


@pytest.mark.parametrize("code", [0, 1, 127, 130, 137, 168, 169, 255])
def test_exit_codes(rig: Rig, shell: str, code: int) -> None:
    outcome = rig.run(f"#!/bin/sh\necho out; echo err >&2; exit {code}\n")
    if shell != "zsh" or not 128 < code < 193:  # zsh tells nothing of a killed child: all the same to it
        assert (outcome.record.outcome, outcome.record.code) == ("exited", code)
    assert outcome.code == (1 if code in {137, 168, 169} else code)
    assert (outcome.extract, outcome.errors) == ("out\n", "err\n")


@pytest.mark.usefixtures("shell")
def test_output_without_a_last_newline_gets_none(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\nprintf out\nprintf err >&2\n")
    assert (outcome.extract, outcome.errors, outcome.record.stdout_bytes) == ("out", "err", 3)


@pytest.mark.parametrize("number", [1, 9, 11, 15])
@pytest.mark.usefixtures("shell")
def test_signals(rig: Rig, number: int) -> None:
    outcome = rig.run(f"#!/bin/sh\nkill -{number} $$\n")
    assert (outcome.record.outcome, outcome.record.signal, outcome.errors) == ("signalled", number, "")


@pytest.mark.usefixtures("shell")
@pytest.mark.fetched
def test_the_payload_ignores_no_signal(rig: Rig) -> None:
    script = "grep SigIgn /proc/self/status\n"
    direct = rig.root / "direct"
    direct.write_text(f"#!{rig.shell}\n{script}")
    direct.chmod(0o700)
    # busybox's `sh -c` itself ignores SIGQUIT for what it runs.
    expected = subprocess.run([rig.shell, "-c", direct], capture_output=True, check=True, text=True)
    assert rig.run(f"#!/bin/sh\n{script}").extract == expected.stdout


@pytest.mark.usefixtures("shell")
def test_deadline(rig: Rig) -> None:
    script = "#!/bin/sh\necho early\nsetsid sleep 60 &\n(trap '' TERM; while :; do sleep 1; done) &\nsleep 60\n"
    outcome = rig.run(script, timeout=2)
    assert (outcome.code, outcome.record.outcome, outcome.extract) == (124, "timed-out", "early\n")
    assert outcome.errors == ""
    assert rig.settle() == []


@pytest.mark.usefixtures("shell")
@pytest.mark.fetched
def test_fetching_too_long(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\n", faults=["hang", "always"], fetch_timeout=1)
    assert (outcome.record.error, outcome.errors.count("\n")) == ("fetch-timeout", 1)


@pytest.mark.usefixtures("shell")
def test_cancel(rig: Rig) -> None:
    started = rig.start(build(rig.recipe(f"#!/bin/sh\nsetsid sleep 60 &\ntouch {rig.root}/ready\nsleep 60\n")))
    deadline = time.monotonic() + 20
    while not (rig.root / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    started.cancel()
    assert rig.finish(started).stdout == b""
    assert rig.settle() == []


@pytest.mark.usefixtures("shell")
@pytest.mark.fetched
def test_duplicates_and_reboot(rig: Rig) -> None:
    text = build(rig.recipe("#!/bin/sh\necho leg $SSM_DEPLOY_RESUMED\n[ $SSM_DEPLOY_RESUMED = 1 ] || exit 194\n"))
    first = rig.execute(text)
    assert (first.code, first.stdout, first.stderr) == (194, b"", b"")
    second = rig.execute(text)
    assert (second.extract, second.record.resumed, second.errors) == ("leg 0\nleg 1\n", 1, "")
    assert rig.execute(text).record.error == "duplicate"


@pytest.mark.usefixtures("shell")
@pytest.mark.fetched
def test_refusal(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\n", faults=["403", "always"])
    assert (outcome.record.error, outcome.code) == ("download", 71)
    assert outcome.errors.startswith("ssm-deploy: download: script: HTTP 403 from ")


@pytest.mark.usefixtures("shell")
def test_the_script_removes_its_directory(rig: Rig) -> None:
    outcome = rig.run('#!/bin/sh\necho one\nrm -rf "$(dirname "$DEPLOY_FILES_DIR")"\necho two\nkill -9 $$\n')
    assert (outcome.extract, outcome.record.signal, outcome.errors) == ("one\ntwo\n", 9, "")


@pytest.mark.usefixtures("shell")
def test_large_output(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\nseq 1 100000\n")
    assert outcome.record.stdout_bytes == 588895
    assert outcome.extract.startswith("[... 568895 bytes left out]\n")


@pytest.mark.usefixtures("shell")
@pytest.mark.fetched
def test_bare_surroundings(rig: Rig) -> None:
    """No PATH, no stdin, no environment, umask 0."""
    rig.bare = True
    script = "#!/bin/sh\necho $HOME; ls /dev/null; umask; cat; stat -c %a a . ..\n"
    outcome = rig.run(script, files={"a": b""}, args=["x"])
    assert (outcome.extract, outcome.errors) == ("/root\n/dev/null\n0022\n644\n700\n700\n", "")


@pytest.mark.usefixtures("shell")
def test_another_user(rig: Rig) -> None:
    rig.open_to_others()
    assert rig.run("#!/bin/sh\nid -un; cat a\n", files={"a": b"x\n"}, run_as="nobody").extract == "nobody\nx\n"
