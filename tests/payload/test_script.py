"""What a script is given, and how its end is told."""

import hashlib
import signal
import stat
import time
from pathlib import Path

import pytest
from payload.rig import RUN, Rig, started_and, tar
from waiting import until

WAYS = ("fetched", "streamed")


def test_output_comes_after_the_record_and_errors_on_stderr(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\necho out\necho err >&2\n")
    assert (outcome.code, outcome.extract, outcome.errors) == (0, "out\n", "err\n")
    record = outcome.record
    assert (record.outcome, record.code, record.signal, record.error, record.resumed) == ("exited", 0, 0, "", 0)
    assert (record.stdout_bytes, record.stderr_bytes) == (4, 4)
    assert record.stdout_sha256 == "54034ac5c6e9ea95"  # printf 'out\n' | sha256sum
    assert abs(record.ended - time.time()) < 20
    assert record.command == "11111111-2222-3333-4444-555555555555"


def test_the_record_fits_in_a_list_page(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\nexit 1\n", files={"a": b""})
    assert len(outcome.stdout) < 620


def test_the_script_sees_a_whole_environment(rig: Rig) -> None:
    shown = rig.run(
        "#!/bin/sh\nenv\necho cwd=$PWD\numask\nps -o stat= -p $$ >/dev/null; cat; ls /proc/self/fd\n"
    ).extract
    lines = shown.splitlines()
    assert {"HOME=/root", "USER=root", "LOGNAME=root", f"SSM_DEPLOY_RUN_ID={RUN}", "SSM_DEPLOY_RESUMED=0"} <= set(lines)
    assert "AWS_SSM_INSTANCE_ID=i-0123456789abcdef0" in lines
    path = next(line for line in lines if line.startswith("PATH="))
    assert all(place in path for place in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/sbin"))
    directory = next(line for line in lines if line.startswith("DEPLOY_FILES_DIR=")).partition("=")[2]
    assert f"cwd={directory}" in lines
    assert "0022" in lines
    assert lines[-4:] == ["0", "1", "2", "3"]  # 3 is ls looking
    ours = {"HOME", "USER", "LOGNAME", "PATH", "PWD", "DEPLOY_FILES_DIR", "SSM_DEPLOY_RUN_ID", "SSM_DEPLOY_RESUMED"}
    agents = {"LANG", "TMPDIR", "SSM_COMMAND_ID", "AWS_SSM_INSTANCE_ID", "AWS_SSM_REGION_NAME"}
    agents |= {"AWS_SSM_PLATFORM_NAME", "AWS_SSM_PLATFORM_VERSION"}
    assert {line.partition("=")[0] for line in lines if "=" in line} == ours | agents | {"cwd"}


GLIBCS_OWN = 1 << 31 | 1 << 32


def test_no_signal_is_ignored(rig: Rig) -> None:
    blocked, ignored = rig.run("#!/bin/sh\nsed -n 's/^Sig\\(Blk\\|Ign\\):.//p' /proc/self/status\n").extract.split()
    # glibc keeps 32 and 33 to itself, and leaves them ignored in what make starts (its spawni.c).
    assert (int(blocked, 16) & ~GLIBCS_OWN, int(ignored, 16) & ~GLIBCS_OWN) == (0, 0)


def test_the_files_are_there_with_their_modes_and_nothing_else(rig: Rig) -> None:
    bundle = tar({"d": None, "d/x": b"#!/bin/sh\necho ran\n", "s": b"secret"}, {"d": 0o750, "d/x": 0o755, "s": 0o600})
    outcome = rig.run('#!/bin/sh\nd/x\nstat -c "%a %U %n" "$DEPLOY_FILES_DIR"/*  d/x\nls -A\n', bundle=bundle)
    directory = outcome.extract.split()[3].rpartition("/")[0]
    assert outcome.extract == f"ran\n750 root {directory}/d\n600 root {directory}/s\n755 root d/x\nd\ns\n"
    assert len(outcome.record.bundle) == 64


def test_without_a_bundle_there_is_an_empty_directory(rig: Rig) -> None:
    assert rig.run('#!/bin/sh\nls -A "$DEPLOY_FILES_DIR" && echo empty\n').extract == "empty\n"


def test_arguments_and_environment_arrive_byte_for_byte(rig: Rig) -> None:
    args = [b"one", b"two words", b"", b"{{ssm:x}}", b'it\'s "quoted" $HOME `id` \\n \\', b"line\nline\n", b"-e", b"*"]
    args += [b"\xff\xfe\x80", bytes(range(1, 256)), "\N{SNOWMAN}".encode()]
    environ = {"A": bytes(range(1, 256)), "EMPTY": b"", "UID": b"x", "PATH": b"/nowhere", "n_1": b"a\nb"}
    script = "#!/usr/bin/python3\nimport os, sys\nprint(*[os.fsencode(a).hex() for a in sys.argv[1:]], sep=',')\n"
    script += "print(*[os.environb[k].hex() for k in (b'A', b'EMPTY', b'UID', b'PATH', b'n_1')], sep=',')\n"
    got_args, got_env = rig.run(script, args=args, environ=environ).extract.splitlines()
    assert got_args == ",".join(arg.hex() for arg in args)
    assert got_env == ",".join(value.hex() for value in environ.values())


@pytest.mark.parametrize("code", [0, 1, 127, 130, 137, 143, 168, 169, 200, 255])
def test_every_exit_code_is_told_and_the_agent_never_misled(rig: Rig, code: int) -> None:
    outcome = rig.run(f"#!/bin/sh\nexit {code}\n")
    assert (outcome.record.outcome, outcome.record.code, outcome.record.signal) == ("exited", code, 0)
    assert outcome.code == (1 if code in {137, 168, 169} else code)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT])
def test_death_by_a_signal_is_not_an_exit_code(rig: Rig, number: int) -> None:
    outcome = rig.run(f"#!/bin/sh\necho before\nkill -{int(number)} $$\n")
    assert (outcome.record.outcome, outcome.record.signal, outcome.record.code) == ("signalled", number, 128 + number)
    assert outcome.code == (1 if number == signal.SIGKILL else 128 + number)
    assert (outcome.extract, outcome.errors) == ("before\n", "")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (b"echo no shebang $0\n", "no shebang"),
        (b"#!/usr/bin/env python3\nprint('python')\n", "python"),
        (b"#!/usr/bin/env -S python3 -I -u\nimport sys; print(sys.flags.isolated)\n", "1"),
        (b"#! /usr/bin/perl -w\nprint $^W\n", "1"),
        (b"#!/bin/sh\nexec echo exec\n", "exec"),
        (b"#!/bin/bash\na=(1 2); echo ${a[1]}\n", "2"),
        (Path("/bin/true").read_bytes(), ""),
    ],
    ids=["none", "env", "env -S", "perl", "exec", "bash", "elf"],
)
def test_the_script_runs_in_its_own_language(rig: Rig, script: bytes, expected: str) -> None:
    outcome = rig.run(script)
    assert outcome.code == 0
    assert outcome.extract.startswith(expected)


def test_a_missing_interpreter_is_a_refusal_not_an_exit_127(rig: Rig) -> None:
    outcome = rig.run("#!/opt/none/bin/ruby -w\nputs 1\n")
    assert (outcome.record.outcome, outcome.record.error, outcome.code) == ("refused", "no-interpreter", 79)
    assert "/opt/none/bin/ruby" in outcome.errors


def test_large_output_keeps_its_end_and_its_true_size(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\nseq 1 200000\nseq 1 200000 | sed s/^/e/ >&2\necho last >&2\n")
    assert outcome.record.stdout_bytes == 1288895
    assert len(outcome.stdout) < 24000
    assert len(outcome.stderr) < 7950
    assert outcome.extract.startswith("[... 1268895 bytes left out]\n")
    assert outcome.extract.endswith("199999\n200000\n")
    assert outcome.errors.endswith("e200000\nlast\n")


@pytest.mark.slow
def test_endless_output_does_not_fill_the_disk(rig: Rig) -> None:
    script = """#!/bin/sh
head -c 300000000 /dev/zero
echo end
tries=0 kib=10000
while [ $kib -ge 10000 ] && [ $((tries += 1)) -le 40 ]; do
  sleep 0.5
  kib=$(du -k "$DEPLOY_FILES_DIR/../out" | cut -f 1)
done
echo $kib >&2
"""
    outcome = rig.run(script)
    assert outcome.record.stdout_bytes == 300_000_004
    assert outcome.record.stdout_sha256 == ""
    assert outcome.extract.endswith("\0end\n")
    assert int(outcome.errors.split()[0]) < 10_000


@pytest.mark.slow
def test_a_hundred_megabytes_are_hashed_and_counted(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\nyes | head -c 100000000\n")
    assert outcome.record.stdout_bytes == 100_000_000
    assert outcome.record.stdout_sha256 == hashlib.sha256(b"y\n" * 50_000_000).hexdigest()[:16]


def test_output_is_passed_on_byte_for_byte(rig: Rig) -> None:
    outcome = rig.run(b"#!/usr/bin/python3\nimport os\nos.write(1, bytes(range(256)))\nos.write(2, b'\\0\\xff')\n")
    assert outcome.stdout.partition(b"\n")[2] == bytes(range(256))
    assert outcome.stderr == b"\0\xff"


def test_a_script_that_prints_a_record_convinces_nobody(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\necho 'ssm-deploy-result {\"format\":1}'\nexit 5\n")
    assert outcome.record.code == 5


@pytest.mark.parametrize(
    "child",
    ["sleep 60 &", "nohup sleep 60 >&2 &", "setsid sleep 60 &", "(sleep 60 3>&1 &) &", "setsid sh -c 'sleep 60; :' &"],
)
def test_a_background_child_neither_holds_the_run_up_nor_is_killed(rig: Rig, child: str) -> None:
    outcome = rig.run(f"#!/bin/sh\n{child}\necho done\n")
    assert outcome.extract == "done\n"
    assert outcome.seconds < 30
    assert not list(rig.tmp.glob("deploy_files_*"))
    assert until(lambda: any("sleep 60" in line for line in rig.processes().values()))  # for a moment it is sh
    rig.end_services()


def test_the_script_may_remove_everything_under_itself(rig: Rig) -> None:
    outcome = rig.run(
        '#!/bin/sh\necho one\nrm -rf "$(dirname "$DEPLOY_FILES_DIR")"\necho two\necho three >&2\nexit 4\n'
    )
    assert (outcome.code, outcome.extract, outcome.errors) == (4, "one\ntwo\n", "three\n")
    assert outcome.record.stdout_bytes == 8


def test_a_read_only_tree_is_removed(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\nmkdir -p a/b; touch a/b/c; chmod 0 a/b/c a/b a .\n")
    assert outcome.code == 0


@pytest.mark.slow
@pytest.mark.parametrize("tmpdir", ["tmp", "tmp/", "./tmp/../tmp", "link"])
@pytest.mark.parametrize("point", ["a b", "a 1", "d", "..", "."])
def test_what_is_mounted_inside_is_not_deleted(rig: Rig, tmpdir: str, point: str) -> None:
    """The kernel lists mounts by their real names, with a blank as `\\040`."""
    precious = precious_data(rig)
    rig.tmp.mkdir()
    (rig.root / "link").symlink_to(rig.tmp)
    rig.env["TMPDIR"] = f"{rig.root}/{tmpdir}"
    outcome = rig.run(f"#!/bin/sh\nmkdir -p '{point}' && mount --bind {precious} '{point}' && echo mounted\n")
    assert (outcome.extract, outcome.errors) == ("mounted\n", "")
    assert (precious / "data").read_text() == "x"
    assert rig.settle() == []


def test_a_cancel_does_not_delete_what_is_mounted_inside(rig: Rig) -> None:
    precious = precious_data(rig)
    rig.tmp.mkdir()
    (rig.root / "link").symlink_to(rig.tmp)
    rig.env["TMPDIR"] = f"{rig.root}/link"
    started = started_and(rig, f"#!/bin/sh\nmkdir m; mount --bind {precious} m; touch $READY; sleep 60\n")
    started.cancel()
    rig.finish(started)
    assert rig.settle() == []
    assert (precious / "data").read_text() == "x"


def precious_data(rig: Rig) -> Path:
    precious = rig.root / "precious"
    precious.mkdir()
    (precious / "data").write_text("x")
    return precious


def test_reading_stdin_meets_its_end(rig: Rig) -> None:
    assert rig.run("#!/bin/sh\nread x || echo eof\n").extract == "eof\n"


def test_a_script_of_five_megabytes_runs(rig: Rig) -> None:
    script = b"#!/bin/sh\necho start\n" + b"# padding that is of no importance\n" * 150_000 + b"echo end\n"
    assert rig.run(script).extract == "start\nend\n"


def test_another_user_runs_the_script_with_its_own_home(rig: Rig) -> None:
    rig.open_to_others()
    outcome = rig.run(
        '#!/bin/sh\nid -un; id -Gn; echo "$HOME $USER"; echo x >new && echo wrote; echo again >/dev/stderr; cat a\n',
        files={"a": b"content\n"},
        args=["x"],
        run_as="nobody",
    )
    assert (outcome.code, outcome.errors) == (0, "again\n")
    assert outcome.extract == "nobody\nnogroup\n/nonexistent nobody\nwrote\ncontent\n"


def test_an_unknown_user_is_refused(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\necho ran\n", run_as="no-such-user")
    assert (outcome.record.error, outcome.code) == ("no-user", 78)
    assert "ran" not in outcome.extract


def test_the_script_file_is_private_and_gone_afterwards(rig: Rig) -> None:
    shown = rig.run('#!/bin/sh\nstat -c %a "$0" "$(dirname "$0")"\necho "$0"\n').extract.split()
    assert shown[:2] == ["700", "700"]
    assert not Path(shown[2]).exists()
    assert stat.S_IMODE((rig.locks / "ssm-deploy").stat().st_mode) == 0o700


@pytest.mark.slow
def test_a_script_that_the_kernel_kills_for_its_memory_is_told(rig: Rig) -> None:
    """In a control group with little memory, where one can be made; else SIGKILL by hand stands for it."""
    group = Path("/sys/fs/cgroup/memory/ssm-deploy-test")
    hog = "/usr/bin/python3 -c 'x = [bytes(1 << 20) + b\"x\" for _ in range(2000)]'"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(40 << 20))
    except OSError:
        outcome = rig.run("#!/bin/sh\necho before\nkill -9 $$\n")
    else:
        outcome = rig.run(f"#!/bin/sh\necho before\necho $$ >{group}/cgroup.procs\nexec {hog}\n")
        group.rmdir()
    assert (outcome.record.outcome, outcome.record.signal, outcome.extract) == ("signalled", 9, "before\n")
    assert outcome.code == 1
