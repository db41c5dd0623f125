"""DESIGN's rules about who may import whom, who may print, and who may end the process."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ssm_deployer

PACKAGE = Path(ssm_deployer.__file__).parent
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))

# From the top to the bottom. An import may skip layers and stay on its own, never go up.
LAYERS = [
    {"__main__"},
    {"cli"},
    {"views", "ledger", "doctor", "iam", "sandbox"},
    {"backends", "targets", "staging"},
    {"aws", "payload", "bundle", "config", "inventory"},
    {"runner"},
    {"events"},
    {"model", "errors", "result", "selector", "__init__"},
]
RANKS = {room: len(LAYERS) - number for number, rooms in enumerate(LAYERS) for room in rooms}

# Who may import what comes from others.
DOORS = {
    "boto3": {"aws.py", "sandbox"},
    "botocore": {"aws.py", "sandbox"},
    "s3transfer": {"aws.py"},
    "click": {"cli"},
    "rich": {"views", "cli"},
    "moto": {"sandbox"},
    "flask": {"sandbox"},
    "werkzeug": {"sandbox"},
}
# What takes long to import, and what imports it.
HEAVY = {"boto3", "botocore", "rich", "yaml", "msgspec", "moto", "ssm_deployer.aws", "ssm_deployer.config"}
# A server that runs as a process of its own.
PROCESSES = {"sandbox/server.py", "sandbox/supervisor.py"}


def tree(path: Path) -> ast.Module:
    return ast.parse((PACKAGE / path).read_text(encoding="utf-8"), str(path))


def imported(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, wherever in the file that stands."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} line {node.lineno}: a relative import hides its layer"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(module: str) -> str:
    """The part of the package that a module belongs to, such as `views` for `ssm_deployer.views.live`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in RANKS else "__init__"


def test_every_file_has_its_layer() -> None:
    assert {path.parts[0].removesuffix(".py") for path in FILES} <= set(RANKS)
    assert len(FILES) > 20


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_import_goes_up(path: Path) -> None:
    own = path.parts[0].removesuffix(".py")
    for module in imported(path):
        if module.split(".")[0] == "ssm_deployer":
            assert RANKS[room(module)] <= RANKS[own], f"{path} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_libraries_come_in_by_their_door(path: Path) -> None:
    for module in imported(path):
        allowed = DOORS.get(module.split(".")[0])
        assert allowed is None or path.parts[0] in allowed, f"{path} imports {module}"


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] != "cli"], ids=str)
def test_nobody_but_the_command_line_prints_or_exits(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"print", "exit", "quit", "sys.stdout.write", "sys.stderr.write"}, called
            assert called not in {"sys.exit", "os._exit"} or str(path) in PROCESSES, f"{path} calls {called}"
        elif isinstance(node, ast.Raise) and node.exc is not None:
            assert "SystemExit" not in ast.unparse(node.exc) or str(path) in PROCESSES


@pytest.mark.parametrize("path", FILES, ids=str)
def test_only_the_boundary_of_the_command_line_keeps_whatever_it_catches(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ExceptHandler):
            caught = "" if node.type is None else ast.unparse(node.type)
            broad = not caught or {"Exception", "BaseException"} & set(caught.strip("()").split(", "))
            passed_on = ast.unparse(node.body[-1]) == "raise"
            assert not broad or passed_on or str(path) == "cli/main.py", f"{path} line {node.lineno}: {caught}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_only_aws_catches_the_errors_of_botocore(path: Path) -> None:
    if path.parts[0] not in {"aws.py", "sandbox"}:
        assert not any("ClientError" in module for module in imported(path))
        names = {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
        assert "ClientError" not in names


@pytest.mark.parametrize("typed", ["", "up", "upload-script --del", "targets --", "sandbox ", "init "])
def test_completing_a_command_line_imports_nothing_of_what_commands_do(typed: str) -> None:
    words = f"ssm-deploy {typed}"
    environment = {
        "_SSM_DEPLOY_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)
    }  # fmt: skip
    assert not HEAVY & loaded("from ssm_deployer.cli.main import run; run([])", environment)


def test_help_imports_nothing_of_what_commands_do() -> None:
    assert not HEAVY & loaded("from ssm_deployer.cli.main import run; run(['upload-script', '--help'])", {})


@pytest.mark.parametrize("broken", [{}, {"AWS_PROFILE": "missing", "AWS_CONFIG_FILE": "/missing", "AWS_REGION": "\n"}])
@pytest.mark.parametrize("words", ["targets", "upload-script SCRIPT --no-files --dry-run", "upload-script SCRIPT"])
def test_hosts_alone_import_nothing_of_aws_whatever_is_set_for_it(
    words: str, broken: dict[str, str], tmp_path: Path
) -> None:
    script = tmp_path / "s.sh"
    script.write_text("true\n")
    arguments = [*words.replace("SCRIPT", str(script)).split(), "-t", "ssh:127.0.0.1:1"]  # where nobody listens
    program = f"from ssm_deployer.cli.main import run; assert run({arguments!r}) in {{0, 1}}"
    modules = loaded(program, {**broken, "PATH": os.environ["PATH"]}, tmp_path)
    assert "ssm_deployer.targets.hosts" in modules
    assert "yaml" not in modules  # there is no file
    assert ("ssm_deployer.backends.ssh" in modules) == ("SCRIPT" in words)
    assert not {"boto3", "botocore", "s3transfer", "ssm_deployer.aws", "ssm_deployer.staging"} & modules


def test_the_end_of_the_program_looks_for_no_garbage() -> None:
    code = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 0))"
    code += "; from ssm_deployer.cli.main import main; main(['--version'])"
    ended = subprocess.run([sys.executable, "-c", code], env={}, stdout=-1, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "True"


def test_who_reads_json_waits_for_nothing_that_draws(tmp_path: Path) -> None:
    (tmp_path / "s.sh").write_text("true\n")
    arguments = ["upload-script", "s.sh", "--output", "json", "-t", "ssh:127.0.0.1:1"]
    program = f"from ssm_deployer.cli.main import run; assert run({arguments!r}) == 1"
    modules = loaded(program, {"PATH": os.environ["PATH"]}, tmp_path)
    assert "ssm_deployer.views.lines" in modules
    assert "rich" not in modules


def loaded(program: str, environment: dict[str, str], folder: Path | None = None) -> set[str]:
    """The modules that a program has imported when it ends."""
    code = f"import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); {program}"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=-1,
        text=True,
        check=True,
    )
    return set(ended.stderr.split())
