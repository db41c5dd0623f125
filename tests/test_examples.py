"""The example scripts, run the way a target runs them, under the smallest shells that there are."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.sh"))
FILES = ROOT / "files"
SHELLS = {"dash": ["dash"], "busybox": ["busybox", "sh"]}
NOBODY_LISTENS = "http://127.0.0.1:1/"
FAKE_DOCKER = """#!/bin/sh
case $1 in
--version) echo 'Docker version 99' ;;
*) echo 'Cannot connect to the Docker daemon' >&2; exit 1 ;;
esac
"""


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    return SHELLS[request.param]


@pytest.fixture
def target(tmp_path: Path) -> "Target":
    return Target(tmp_path)


class Target:
    """A machine with a home, a folder of files and a PATH of its own."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.files = folder / "files"
        self.tools = folder / "tools"
        for each in (self.home, self.files, self.tools):
            each.mkdir()

    def bring_files(self) -> None:
        shutil.copytree(FILES, self.files, dirs_exist_ok=True)
        # As a clone has it: git keeps no mode but 644 and 755.
        (self.files / "credentials.json").chmod(0o644)

    def has(self, *tools: str) -> None:
        for tool in tools:
            found = shutil.which(tool)
            assert found is not None, f"{tool} is needed for the tests; tests/system-packages installs it"
            (self.tools / tool).symlink_to(found)

    def has_busybox_tools(self) -> None:
        self.has("busybox")
        subprocess.run([self.tools / "busybox", "--install", "-s", self.tools], check=True)

    def has_made(self, tool: str, content: str) -> None:
        (self.tools / tool).write_text(content)
        (self.tools / tool).chmod(0o755)

    def run(
        self, shell: list[str], script: str, *arguments: str, path: str | None = None, **more: str
    ) -> "subprocess.CompletedProcess[str]":
        program = shutil.which(shell[0])
        assert program is not None, f"{shell[0]} is needed for the tests; tests/system-packages installs it"
        return subprocess.run(
            [program, *shell[1:], ROOT / "examples" / f"{script}.sh", *arguments],
            env=self.environment(path) | more,
            cwd=self.files,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    def environment(self, path: str | None) -> dict[str, str]:
        return {
            "PATH": f"{self.tools}:/usr/sbin:/usr/bin:/sbin:/bin" if path is None else path,
            "HOME": str(self.home),
            "DEPLOY_FILES_DIR": str(self.files),
            "SSM_DEPLOY_RUN_ID": "20260101T000000Z-00000000",
            "AWS_SSM_INSTANCE_ID": "i-0123456789abcdef0",
            "AWS_SSM_REGION_NAME": "eu-west-1",
        }


# -- all of them


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_shellcheck_has_nothing_to_say(script: Path) -> None:
    checked = subprocess.run(["shellcheck", "--shell=sh", script], capture_output=True, encoding="utf-8", check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_an_example_can_be_executed_as_it_is(script: Path) -> None:
    assert script.stat().st_mode & 0o111 == 0o111
    assert script.read_bytes().startswith(b"#!/bin/sh\n")


def test_the_example_credentials_are_json_and_say_that_they_are_none() -> None:
    credentials = json.loads((FILES / "credentials.json").read_text())
    assert "example" in credentials["comment"].lower()
    assert "not-a-password" in credentials["password"]


# -- test_upload_script.sh


def test_the_status_script_describes_a_common_machine(shell: list[str], target: Target) -> None:
    run = target.run(shell, "test_upload_script", NOBODY_LISTENS)
    assert (run.returncode, run.stderr) == (0, "")
    for heading in ("System", "Network", "Docker", "Bacalhau"):
        assert f"== {heading} ==" in run.stdout
    assert "i-0123456789abcdef0 in eu-west-1" in run.stdout
    assert "Linux" in run.stdout
    assert f"{NOBODY_LISTENS} does not answer" in run.stdout
    assert run.stdout.endswith("Done.\n")


def test_the_status_script_succeeds_on_a_machine_with_nothing_but_uname(shell: list[str], target: Target) -> None:
    target.has("uname")
    run = target.run(shell, "test_upload_script", path=str(target.tools))
    assert (run.returncode, run.stderr) == (0, "")
    assert "Docker is not installed." in run.stdout
    assert "Bacalhau is not installed." in run.stdout
    assert "way out:" in run.stdout
    assert run.stdout.endswith("Done.\n")


def test_the_status_script_makes_do_with_busybox(shell: list[str], target: Target) -> None:
    target.has_busybox_tools()
    run = target.run(shell, "test_upload_script", NOBODY_LISTENS, path=str(target.tools))
    assert (run.returncode, run.stderr) == (0, "")
    assert "not known here" not in run.stdout
    assert "failed with" not in run.stdout
    assert f"{NOBODY_LISTENS} does not answer" in run.stdout


def test_the_status_script_goes_on_after_a_docker_without_daemon(shell: list[str], target: Target) -> None:
    target.has_made("docker", FAKE_DOCKER)
    target.has_made("bacalhau", "#!/bin/sh\necho bacalhau $*\n")
    run = target.run(shell, "test_upload_script", NOBODY_LISTENS)
    assert (run.returncode, run.stderr) == (0, "")
    assert "Docker version 99" in run.stdout
    assert "Cannot connect to the Docker daemon\n    (failed with 1)" in run.stdout
    assert "bacalhau node list" in run.stdout


# -- deploy_with_files_example.sh


def test_the_files_example_reads_counts_guards_and_installs(shell: list[str], target: Target) -> None:
    target.bring_files()
    run = target.run(shell, "deploy_with_files_example", "one", "two words")
    assert (run.returncode, run.stderr) == (0, "")
    assert "20260101T000000Z-00000000" in run.stdout
    assert "<one>\n" in run.stdout
    assert "<two words>\n" in run.stdout
    assert "example listens on port 8080" in run.stdout
    assert "4 rows" in run.stdout
    installed = target.home / "ssm-deploy-example" / "app.config"
    assert installed.read_bytes() == (FILES / "app.config").read_bytes()
    assert [path.name for path in installed.parent.iterdir()] == ["app.config"]


def test_the_files_example_makes_the_secrets_private_and_prints_none(shell: list[str], target: Target) -> None:
    target.bring_files()
    run = target.run(shell, "deploy_with_files_example")
    assert run.returncode == 0
    assert "came as -rw-r--r--, now private" in run.stdout
    assert (target.files / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert json.loads((FILES / "credentials.json").read_text())["password"] not in run.stdout + run.stderr


def test_the_files_example_installs_where_the_argument_says_over_what_is_there(
    shell: list[str], target: Target, tmp_path: Path
) -> None:
    target.bring_files()
    place = tmp_path / "a place"
    place.mkdir()
    (place / "app.config").write_text("old")
    run = target.run(shell, "deploy_with_files_example", str(place))
    assert run.returncode == 0
    assert (place / "app.config").read_bytes() == (FILES / "app.config").read_bytes()
    assert list(target.home.iterdir()) == []


def test_the_files_example_counts_a_last_row_without_newline(shell: list[str], target: Target) -> None:
    target.bring_files()
    (target.files / "deployment_data.csv").write_text("a,b\n1,2\n\n3,4")
    assert "2 rows" in target.run(shell, "deploy_with_files_example").stdout


def test_the_files_example_makes_do_with_busybox(shell: list[str], target: Target) -> None:
    target.bring_files()
    target.has_busybox_tools()
    run = target.run(shell, "deploy_with_files_example", path=str(target.tools))
    assert (run.returncode, run.stderr) == (0, "")


def test_the_files_example_says_what_is_missing_when_no_files_came(shell: list[str], target: Target) -> None:
    run = target.run(shell, "deploy_with_files_example")
    assert run.returncode == 1
    assert run.stderr == "error: app.config did not come along; run it with: --files files\n"
    assert list(target.home.iterdir()) == []


# -- failing_example.sh


def test_the_failing_example_fails_on_the_machines_that_are_named(shell: list[str], target: Target) -> None:
    run = target.run(shell, "failing_example", "i-00000000000000000", "i-0123456789abcdef0")
    assert run.returncode == 3
    assert "nothing was changed" in run.stderr
    assert "step 2 of 3" in run.stdout
    assert "step 3 of 3" not in run.stdout


def test_the_failing_example_succeeds_on_every_other_machine(shell: list[str], target: Target) -> None:
    run = target.run(shell, "failing_example", "i-00000000000000000")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.endswith("done\n")


def test_the_failing_example_fails_everywhere_if_no_machine_is_named(shell: list[str], target: Target) -> None:
    assert target.run(shell, "failing_example").returncode == 3
