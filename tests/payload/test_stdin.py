"""A payload that comes by a login, with all of its content on stdin, or with a file that was copied before."""

import hashlib
import os
import re
import shutil
import time
from pathlib import Path

import pytest
from payload.rig import RUN, Mounts, Outcome, Rig, equip, started_and, wait_for

from ssm_deployer.payload import REFUSALS, build

LOGINS = ["sh", "bash", "dash", "zsh", "fish", "csh", "ksh93", "mksh", "yash", "busybox sh"]
SCRIPT = "#!/bin/sh\necho out $1; cat file; echo err >&2; exit 3\n"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
STUBBORN = "trap '' TERM; "


@pytest.fixture
def way() -> str:
    return "streamed"


copied = pytest.mark.parametrize("way", ["copied"])
both = pytest.mark.parametrize("way", ["streamed", "copied"])


def refused(outcome: Outcome, word: str) -> str:
    record = outcome.record
    assert (record.outcome, record.error, outcome.code) == ("refused", word, REFUSALS[word].code)
    assert outcome.errors == f"ssm-deploy: {word}: {record.detail}\n"
    return record.detail


# -- how it starts


@both
@pytest.mark.parametrize("login", LOGINS)
def test_any_login_shell_starts_it(rig: Rig, login: str) -> None:
    rig.login = login.split()
    outcome = rig.run(SCRIPT, files={"file": b"content\n"}, args=["one two"])
    assert (outcome.record.outcome, outcome.code, outcome.noise) == ("exited", 3, b"")
    assert (outcome.extract, outcome.errors) == ("out one two\ncontent\n", "err\n")
    assert outcome.record.bundle == "ab" * 32
    assert not list((rig.root / "home").glob(".ssm-deploy*"))


@pytest.mark.parametrize("noise", ["Welcome!\n", "no newline", "ssm-deploy-ready another\nssm-deploy-result {}\n"])
def test_what_the_login_prints_comes_before_the_greeting(rig: Rig, noise: str) -> None:
    rig.before = f"printf %s '{noise}'; "
    outcome = rig.run(SCRIPT, files={"file": b""})
    assert (outcome.noise, outcome.record.code) == (noise.encode(), 3)


def test_it_asks_for_its_content_and_not_if_nothing_comes_of_it(rig: Rig) -> None:
    text = build(rig.recipe(SCRIPT, files={"file": b""}))
    asking = f"ssm-deploy-listening {RUN}\n".encode()
    for asked, outcome in ((True, "exited"), (False, "refused")):
        started = rig.start(text)
        stdout, _ = started.process.communicate(timeout=60)
        started.channel.close()
        _, _, after = stdout.partition(b"\n%b\n" % started.greeting)
        assert after.startswith(asking) == asked
        assert f'"outcome":"{outcome}"'.encode() in after.removeprefix(asking).splitlines()[0]


LOOK = """#!/bin/sh
env | sort; pwd; umask; ulimit -a; grep -E '^(SigBlk|SigIgn|SigCgt|Groups|Cap|NoNewPrivs)' /proc/self/status
ls /proc/self/fd; stat -c '%a %U %G %n' "$DEPLOY_FILES_DIR" "$0" * .
cat /proc/self/oom_score_adj; ps -o ni= -p $$
"""


@pytest.mark.parametrize("sh", ["dash", "bash", "mksh", "yash", "zsh"])
def test_the_script_finds_the_same_as_by_the_agent(rig: Rig, sh: str) -> None:
    """Not so busybox and ksh: the `sh -c` of the agent counts in SHLVL, and busybox ignores SIGQUIT there."""
    (rig.root / "shell").mkdir()
    (rig.root / "shell" / "sh").symlink_to(f"/usr/bin/{sh}")
    rig.shell = str(rig.root / "shell" / "sh")
    rig.env["SSM_DEPLOY_STATE_DIR"] = str(rig.locks)
    by_login = look(rig)
    rig.way = "fetched"
    assert by_login == look(rig)


def look(rig: Rig) -> list[str]:
    shown = rig.run(LOOK, files={"file": b""}, run_id=f"run-{rig.way}").extract
    place = re.search(r"DEPLOY_FILES_DIR=(.*)/files", shown)
    assert place, shown
    return shown.replace(place[1], "WORK").replace(f"run-{rig.way}", "RUN").splitlines()


def test_nothing_of_it_is_an_argument(rig: Rig) -> None:
    """A script's `pkill -f` shall not find the payload by a word that stands somewhere in it."""
    started = started_and(rig, "#!/bin/sh\ntouch $READY\nwhile [ ! -e $READY.go ]; do sleep 0.1; done\n")
    lines = list(rig.processes().values())
    (rig.root / "ready.go").touch()
    assert rig.finish(started).record.succeeded
    assert lines
    assert not [line for line in lines if "fingerprint" in line]


def test_much_content_arrives(rig: Rig) -> None:
    data = os.urandom(9_000_001)
    outcome = rig.run("#!/bin/sh\nwc -c <data; sha256sum <data\n", files={"data": data})
    assert outcome.extract == f"{len(data)}\n{hashlib.sha256(data).hexdigest()}  -\n"


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh", "ksh93", "mksh", "yash", "zsh"])
def test_padding_that_tar_does_not_read_is_part_of_the_content(rig: Rig, tmp_path: Path, shell: str) -> None:
    program, *_ = shell.split()
    rig.shell = str(tmp_path / "sh")
    (tmp_path / "sh").symlink_to(shutil.which(program) or program)
    rig.padding = 1 << 20
    outcome = rig.run(SCRIPT, files={"file": b"content\n"}, args=["one"])
    assert (outcome.record.outcome, outcome.code, outcome.extract) == ("exited", 3, "out one\ncontent\n")


def test_what_follows_the_content_is_left_alone(rig: Rig) -> None:
    started = rig.start(build(rig.recipe("#!/bin/sh\nread x || echo eof\n")))
    started.channel.write(b"anything\nelse\n" * 1000)
    assert rig.finish(started).extract == "eof\n"


# -- what is cut


@pytest.mark.parametrize("kept", [0, 1, 5, 6, 100, 4000, -1])
def test_a_text_that_was_cut_leaves_nothing(rig: Rig, kept: int) -> None:
    text = build(rig.recipe(f"#!/bin/sh\ntouch {rig.root}/ran\n"))
    rig.limit = kept if kept >= 0 else rig.before_content(text) - 1
    outcome = rig.execute(text)
    assert (outcome.stdout, outcome.stderr, outcome.code != 0) == (b"", b"", True)
    assert list(rig.locks.iterdir()) == []
    assert not (rig.root / "ran").exists()


@pytest.mark.parametrize("missing", [1, 511, 512, 5000, 9728, 10_000, 10_239, 10_240])
@pytest.mark.parametrize("size", [0, 100_000])
def test_content_that_was_cut_is_refused(rig: Rig, missing: int, size: int) -> None:
    """Wherever it is cut, in the blocks that pad it as well: who has not sent it all knows that nothing ran."""
    script = f"#!/bin/sh\ntouch {rig.root}/ran\n"
    text = build(rig.recipe(script, files={"a": os.urandom(size)} if size else None, args=["x"]))
    rig.limit = rig.before_content(text) + len(rig.content) - missing
    assert "blocks" in refused(rig.execute(text), "cut-off")
    assert not (rig.root / "ran").exists()
    assert rig.settle() == []


def test_content_that_comes_too_slowly_meets_the_deadline(rig: Rig) -> None:
    text = build(rig.recipe(f"#!/bin/sh\ntouch {rig.root}/ran\n", fetch_timeout=1))
    whole, rig.content = rig.content, rig.content[:700]
    started = rig.start(text)
    refused(rig.finish(started), "fetch-timeout")
    assert not (rig.root / "ran").exists()
    assert whole.startswith(rig.content)


def test_the_deadline_holds_though_it_is_over_before_anything_is_waited_for(rig: Rig) -> None:
    """As after a long look for a place; `sleep` takes no negative number."""
    equip(rig, [])
    rig.wrap("mkdir", "sleep 3")
    text = build(rig.recipe("#!/bin/sh\n", fetch_timeout=1))
    rig.content = rig.content[:700]
    refused(rig.finish(rig.start(text)), "fetch-timeout")


@both
def test_no_reboot_is_asked_for_where_nobody_sees_to_it(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\necho out\nexit 194\n")
    assert (outcome.code, outcome.record.outcome, outcome.record.code) == (1, "exited", 194)
    assert "only the SSM agent" in outcome.record.detail
    assert outcome.extract == "out\n"


def test_the_end_of_the_connection_does_not_end_the_script(rig: Rig) -> None:
    started = started_and(rig, "#!/bin/sh\ntouch $READY\nwhile [ ! -e $READY.go ]; do sleep 0.1; done\necho on\n")
    started.channel.close()
    time.sleep(0.3)
    (rig.root / "ready.go").touch()
    assert rig.finish(started).extract == "on\n"


def test_a_client_that_is_gone_leaves_nothing(rig: Rig) -> None:
    """The payload writes its record to nobody."""
    script = "#!/bin/sh\ntouch $READY\nwhile [ ! -e $READY.go ]; do sleep 0.1; done\ntouch $READY.done\n"
    started = started_and(rig, script)
    started.channel.close()
    assert started.process.stdout
    assert started.process.stderr
    started.process.stdout.close()
    started.process.stderr.close()
    (rig.root / "ready.go").touch()
    wait_for(rig.root / "ready.done")
    started.process.wait(20)
    assert rig.settle() == []


# -- what is cancelled


@both
def test_a_cancel_ends_the_whole_tree_and_is_reported(rig: Rig) -> None:
    script = f'#!/bin/sh\nsetsid sh -c "{STUBBORN} while :; do sleep 1; done" &\necho early\necho error >&2\n'
    started = started_and(rig, f"{script}{STUBBORN} touch $READY; while :; do sleep 1; done\n", timeout=600)
    started.channel.write(b"cancel\n")
    outcome = rig.finish(started)
    record = outcome.record
    assert (outcome.code, record.outcome, record.signal, record.code) == (130, "cancelled", 9, 137)
    assert (outcome.extract, outcome.errors) == ("early\n", "error\n")
    assert (record.stdout_bytes, len(record.stdout_sha256)) == (6, 16)
    assert outcome.seconds < 30
    assert rig.settle() == []


def test_a_script_may_tidy_up_when_it_is_cancelled(rig: Rig) -> None:
    script = "#!/bin/sh\ntrap 'echo tidy; exit 7' TERM\ntouch $READY\nsleep 60 & wait\n"
    started = started_and(rig, script, grace=5)
    started.channel.write(b"cancel\n" * 3)
    outcome = rig.finish(started)
    assert (outcome.record.outcome, outcome.record.code, outcome.extract) == ("cancelled", 7, "tidy\n")


def test_a_cancel_before_the_script_ends_it_as_it_starts(rig: Rig) -> None:
    started = rig.start(build(rig.recipe("#!/bin/sh\nsleep 60\n", files={"a": b""})))
    started.channel.write(b"cancel\n")
    started.channel.close()
    outcome = rig.finish(started)
    assert (outcome.record.outcome, outcome.code) == ("cancelled", 130)
    assert outcome.seconds < 30


def test_other_words_mean_nothing(rig: Rig) -> None:
    started = started_and(rig, "#!/bin/sh\ntouch $READY\nwhile [ ! -e $READY.go ]; do sleep 0.1; done\n")
    started.channel.write(b"\nCANCEL\ncancelled-script\nend\nnot cancel\n" + b"x" * 10_000)
    time.sleep(0.3)
    (rig.root / "ready.go").touch()
    assert rig.finish(started).record.succeeded


def test_a_cancel_after_the_script_ends_nothing_that_was_meant_to_stay(rig: Rig) -> None:
    equip(rig, [])
    rig.wrap("sha256sum", f": >{rig.root}/ready; while [ ! -e {rig.root}/go ]; do sleep 0.1; done")
    started = rig.start(build(rig.recipe("#!/bin/sh\nsleep 61 &\necho x\n")))
    wait_for(rig.root / "ready")
    started.channel.write(b"cancel\n")
    time.sleep(0.3)
    (rig.root / "go").touch()
    outcome = rig.finish(started)
    assert (outcome.record.outcome, outcome.code) == ("exited", 0)
    assert any("sleep 61" in line for line in rig.end_services())


# -- what is refused


def test_without_tar_it_says_so(rig: Rig) -> None:
    equip(rig, [])
    (Path(rig.path) / "tar").unlink()
    assert "tar" in refused(rig.run("#!/bin/sh\necho ran\n"), "unpack")


def test_without_dd_nothing_runs(rig: Rig) -> None:
    equip(rig, [])
    (Path(rig.path) / "dd").unlink()
    outcome = rig.run("#!/bin/sh\necho ran\n")
    assert (outcome.stdout, outcome.code != 0) == (b"", True)


def test_hardly_anything_is_needed(rig: Rig) -> None:
    """Neither a program that downloads nor, but for the end of the output, one that computes digests."""
    equip(rig, [])
    assert rig.run("#!/bin/sh\nexit 7\n", files={"a": b""}, args=["x"]).code == 7


def test_busybox_is_enough(rig: Rig) -> None:
    equip(rig, [])
    for name in ("dd", "tar", "gzip", "head", "tail", "wc", "df", "sed", "tr", "cut", "rm", "chmod"):
        (Path(rig.path) / name).unlink()
        (Path(rig.path) / name).symlink_to("/usr/bin/busybox")
    data = os.urandom(3_000_000)
    outcome = rig.run("#!/bin/sh\nwc -c <data\nexit 7\n", files={"data": data}, args=["x"])
    assert (outcome.extract, outcome.code) == (f"{len(data)}\n", 7)


@both
def test_a_full_disk_is_told(rig: Rig, mounts: Mounts) -> None:
    place = mounts.add("place", "size=1m")
    rig.offer(place)
    text = build(rig.recipe("#!/bin/sh\necho ran\n", files={"large": os.urandom(1_500_000)}), readable=True)
    text = re.sub(r"need_kib='\d+'", "need_kib='10'", text)
    assert refused(rig.execute(text), "no-place").endswith(": full while receiving")
    assert list(place.iterdir()) == []


def test_a_second_start_is_refused(rig: Rig) -> None:
    text = build(rig.recipe(f"#!/bin/sh\necho ran >>{rig.root}/count\n"))
    assert rig.execute(text).code == 0
    refused(rig.execute(text), "duplicate")
    assert (rig.root / "count").read_text() == "ran\n"


# -- what was copied


@copied
def test_what_was_copied_is_gone_whatever_happens(rig: Rig) -> None:
    text = build(rig.recipe("#!/bin/sh\nls -A ~\n"))
    assert rig.execute(text).code == 0
    refused(rig.execute(text), "duplicate")
    assert list((rig.root / "home").iterdir()) == []


@copied
def test_what_was_not_copied_or_not_whole_is_refused(rig: Rig) -> None:
    text = build(rig.recipe("#!/bin/sh\necho ran\n"))
    rig.content = rig.content[:-1]
    refused(rig.execute(text), "cut-off")


@copied
def test_what_earlier_runs_left_goes_after_two_days(rig: Rig) -> None:
    home = rig.root / "home"
    home.mkdir()
    days = {".ssm-deploy-old": 3, ".ssm-deploy-new": 1, ".ssm-other": 3}
    for name, age in days.items():
        (home / name).touch()
        os.utime(home / name, (time.time() - age * 86_400,) * 2)
    (home / ".ssm-deploy-1000").mkdir()
    assert rig.run("#!/bin/sh\n").code == 0
    assert {path.name for path in home.iterdir()} == {".ssm-deploy-new", ".ssm-other", ".ssm-deploy-1000"}


# -- as whom


@both
def test_sudo_makes_it_root(rig: Rig) -> None:
    rig.sudo = True
    outcome = rig.run("#!/bin/sh\nid -u; echo $HOME $USER; env | grep -c SUDO\n", files={"a": b""})
    assert (outcome.extract, outcome.errors) == ("0\n/root root\n0\n", "")


def test_a_sudo_that_asks_is_no_payload(rig: Rig) -> None:
    rig.open_to_others()
    rig.sudo, rig.user = True, NOBODY
    started = rig.start(build(rig.recipe("#!/bin/sh\necho ran\n")))
    stdout, stderr = started.process.communicate(timeout=20)
    assert (stdout, started.process.returncode) == (b"", 1)
    assert b"sudo" in stderr


@pytest.fixture
def nobody(rig: Rig) -> Rig:
    """A target whose login user is not root, with a home and a /var/tmp of its own."""
    rig.open_to_others()
    rig.user = NOBODY
    for name in ("home", "var-tmp"):
        (rig.root / name).mkdir()
        os.chown(rig.root / name, 65534, 65534)
    place = rig.root / "sbin"
    place.mkdir()
    (place / "getent").write_text(f"#!/bin/sh\necho 'nobody:x:65534:65534::{rig.root}/home:/bin/sh'\n")
    (place / "getent").chmod(0o755)
    rig.path = f"{place}:{rig.path}"
    return rig


@both
def test_who_is_not_root_runs_it_as_itself(nobody: Rig) -> None:
    script = "#!/bin/sh\nid -un; echo $HOME $USER; umask; stat -c '%U %a' . ..; echo $1; cat a; exit 3\n"
    outcome = nobody.run(script, files={"a": b"content\n"}, args=["x"])
    expected = f"nobody\n{nobody.root}/home nobody\n0022\nnobody 700\nnobody 700\nx\ncontent\n"
    assert (outcome.extract, outcome.errors, outcome.code) == (expected, "", 3)


def test_the_locks_of_who_is_not_root_are_the_machines_own(nobody: Rig) -> None:
    """A home may be shared by many machines."""
    text = build(nobody.recipe(f"#!/bin/sh\necho ran >>{nobody.tmp}/count\n"))
    assert nobody.execute(text).code == 0
    refused(nobody.execute(text), "duplicate")
    assert (nobody.tmp / "count").read_text() == "ran\n"
    assert [path.name for path in (nobody.root / "var-tmp").iterdir()] == [".ssm-deploy-65534"]
    assert list((nobody.root / "home").iterdir()) == []


def test_where_nothing_else_may_be_written_they_are_in_its_home(nobody: Rig) -> None:
    (nobody.root / "var-tmp").chmod(0o500)
    text = build(nobody.recipe("#!/bin/sh\n"))
    assert nobody.execute(text).code == 0
    refused(nobody.execute(text), "duplicate")
    assert [path.name for path in (nobody.root / "home").iterdir()] == [".ssm-deploy-65534"]


def test_a_place_for_locks_that_is_another_users_is_not_used(nobody: Rig) -> None:
    (nobody.root / "home").chmod(0o500)
    (nobody.root / "var-tmp" / ".ssm-deploy-65534").mkdir(mode=0o777)
    refused(nobody.run("#!/bin/sh\n"), "no-lock")


@pytest.mark.parametrize(
    "script", ["#!/bin/sh\nsleep 60\n", f"#!/bin/sh\nsetsid sleep 60 &\n{STUBBORN}sleep 60\nsleep 60\n"]
)
def test_who_is_not_root_is_stopped_by_the_deadline(nobody: Rig, script: str) -> None:
    outcome = nobody.run(script, timeout=1)
    assert (outcome.record.outcome, outcome.code) == ("timed-out", 124)
    assert nobody.settle() == []


def test_who_is_not_root_may_cancel(nobody: Rig) -> None:
    started = nobody.start(build(nobody.recipe(f"#!/bin/sh\ntouch {nobody.tmp}/ready\nsleep 60\n")))
    wait_for(nobody.tmp / "ready")
    started.channel.write(b"cancel\n")
    assert nobody.finish(started).record.outcome == "cancelled"


def test_a_kill_leaves_nothing_even_where_the_user_may_not_write(nobody: Rig) -> None:
    """As Go's cache of modules has it. The guard is alone then."""
    script = f"#!/bin/sh\nmkdir -p m/a; touch m/a/f; chmod -R a-w m; touch {nobody.tmp}/ready; sleep 60\n"
    started = nobody.start(build(nobody.recipe(script)))
    wait_for(nobody.tmp / "ready")
    started.cancel()
    nobody.finish(started)
    assert nobody.settle() == []
    assert not list(nobody.tmp.glob("deploy_files_*"))


def test_who_is_not_root_becomes_nobody_else(nobody: Rig) -> None:
    detail = refused(nobody.run("#!/bin/sh\necho ran\n", run_as="daemon"), "no-user")
    assert detail == "daemon: nobody cannot become it by setpriv, chroot, runuser or setuidgid"


def test_who_is_not_root_may_become_who_it_is(nobody: Rig) -> None:
    assert nobody.run("#!/bin/sh\nid -un\n", run_as="nobody").extract == "nobody\n"


def test_by_sudo_it_runs_as_another_user(rig: Rig) -> None:
    rig.open_to_others()
    rig.sudo = True
    outcome = rig.run("#!/bin/sh\nid -un; id -Gn; cat a\n", files={"a": b"x\n"}, args=["x"], run_as="nobody")
    assert (outcome.extract, outcome.errors) == ("nobody\nnogroup\nx\n", "")


def test_the_inputs_are_for_nobody_else(rig: Rig) -> None:
    """Another user may enter the work directory, and knows the name."""
    rig.open_to_others()
    rig.mode = 0o644
    outcome = rig.run('#!/bin/sh\ncat "$DEPLOY_FILES_DIR/../inputs"\n', args=["secret"], run_as="nobody")
    assert (outcome.extract, outcome.code) == ("", 1)
