"""A minimal Debian, which has neither curl, wget nor python3: refused clearly, and served once busybox is there."""

import shutil
import subprocess
from pathlib import Path

import pytest
from payload.rig import Outcome, Rig, Store, tar

from ssm_deployer.payload import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


class Debian:
    """A root directory of its own, entered with its own /proc, /dev and processes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def execute(self, text: str, *binds: str) -> Outcome:
        script = self.root / "_script.sh"
        script.write_text(text)
        script.chmod(0o700)
        root = ["--bind", str(self.root), "/", *binds, "--proc", "/proc", "--dev", "/dev", "--unshare-pid"]
        inside = "--cap-add ALL --chdir /usr/bin --clearenv --setenv PATH /usr/bin:/bin --setenv SSM_COMMAND_ID c"
        command = ["bwrap", *root, *inside.split(), "/bin/sh", "-c", "/_script.sh"]
        done = subprocess.run(command, capture_output=True, check=False)
        return Outcome(done.returncode, done.stdout, done.stderr, 0)

    def leftovers(self) -> list[Path]:
        return [path for place in ("tmp", "var/tmp", "run", "root") for path in (self.root / place).glob("deploy_*")]


@pytest.fixture
def debian(tmp_path: Path, pytestconfig: pytest.Config) -> Debian:
    """The packages are kept between runs; unpacked, but not configured, they are enough."""
    cache = pytestconfig.cache
    assert cache
    kept = cache.mkdir("debootstrap").resolve()
    root = tmp_path / "root"
    bootstrap = ["debootstrap", "--foreign", "--variant=minbase", f"--cache-dir={kept}", "stable", str(root)]
    done = subprocess.run(bootstrap, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"no Debian can be had here: {done.stdout.splitlines()[-1:]}"
    if (root / "proc").is_symlink():  # where debootstrap may not mount
        (root / "proc").unlink()
        (root / "proc").mkdir()
    (root / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
    return Debian(root)


def install(debian: Debian, program: str) -> None:
    """Copy a program of this machine, and the libraries that it needs, which go to a place of their own."""
    target = debian.root / "usr" / "bin" / program
    real = shutil.which(program)
    assert real
    shutil.copy(real, target)
    shown = subprocess.run(["ldd", real], capture_output=True, text=True, check=False).stdout
    for word in shown.split():
        if word.startswith("/") and not (debian.root / word.lstrip("/")).exists():
            (debian.root / word.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(word, debian.root / word.lstrip("/"))


def test_a_minimal_debian(debian: Debian, rig: Rig, store: Store) -> None:
    """One test, as to make the root takes longer than all of it."""
    del store
    outcome = debian.execute(build(rig.recipe("#!/bin/sh\necho ran\n", run_id="one")))
    assert (outcome.code, outcome.record_of("one").error) == (70, "no-fetch-tool")
    assert outcome.errors == "ssm-deploy: no-fetch-tool: none of curl, wget, python3, busybox\n"
    assert debian.leftovers() == []

    install(debian, "busybox")
    script = '#!/bin/sh\nid -un; cat "$DEPLOY_FILES_DIR/a"; ./run; echo "$1 $E $HOME"\n'
    bundle = tar({"a": b"content\n", "run": b"#!/bin/sh\necho ran\n"}, {"run": 0o755})
    for run_as, home in (("", "/root"), ("nobody", "/nonexistent")):
        name = f"two{run_as}"
        recipe = rig.recipe(
            script, run_id=name, bundle=bundle, args=["one two"], environ={"E": "\N{SNOWMAN}"}, run_as=run_as
        )
        outcome = debian.execute(build(recipe))
        assert outcome.errors == ""
        assert outcome.extract == f"{run_as or 'root'}\ncontent\nran\none two \N{SNOWMAN} {home}\n"
        assert outcome.record_of(name).succeeded
    assert debian.leftovers() == []

    # What is mounted under a /tmp that is a link is left alone, too.
    (debian.root / "precious").mkdir()
    (debian.root / "precious" / "data").touch()
    (debian.root / "data" / "tmp").mkdir(parents=True)
    shutil.rmtree(debian.root / "tmp")
    (debian.root / "tmp").symlink_to("/data/tmp")
    outcome = debian.execute(build(rig.recipe("#!/bin/sh\nmkdir m; mount --bind /precious m; ls m\n", run_id="three")))
    assert outcome.extract in {"data\n", ""}  # not every container may mount
    assert (debian.root / "precious" / "data").exists()

    read_only = ["--ro-bind", str(debian.root), "/", "--tmpfs", "/run"]
    recipe = rig.recipe('#!/bin/sh\necho "$DEPLOY_FILES_DIR"\n', run_id="four")
    outcome = debian.execute(build(recipe), *read_only)
    assert outcome.extract.startswith("/run/deploy_files_")
