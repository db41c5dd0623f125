"""What a login shell is told, and what it is fed."""

import subprocess

import pytest

from ssm_deployer.errors import UsageError
from ssm_deployer.payload import greeting, line, login_command

IDS = {"SSM_COMMAND_ID": "c-1", "AWS_SSM_INSTANCE_ID": "web-1.example.com", "AWS_SSM_REGION_NAME": "eu-west-1"}


def test_the_beginning_of_stdin_says_how_long_the_text_is() -> None:
    assert line("echo 1\necho 2\n") == b"13\necho 1\necho 2"


@pytest.mark.parametrize("settings", [{}, {"sudo": True}, {"content": ".ssm-deploy-run-1"}])
def test_no_shell_has_anything_to_interpret(settings: dict[str, bool | str]) -> None:
    command = login_command("run-1", IDS, **settings)  # type: ignore[arg-type]  # each of its own type
    assert command.isascii()
    assert not set("\n!\\`") & set(command)
    # Between the quotes everything is what it is; outside of them are plain words alone.
    before, outer, between, inner, after = command.split("'")
    assert (before, between, after) == ("exec /bin/sh -c ", " ", "")
    assert max(len(outer), len(inner)) < 1000  # what the oldest csh takes for one word


def test_the_text_is_greeted_for_and_run() -> None:
    done = feed(line("echo hello; cat\n") + b"the rest\n")
    assert done == f"\n{greeting('run-1')}\nhello\nthe rest\n"


@pytest.mark.parametrize("length", range(0, 24, 3))
def test_a_text_that_was_cut_does_nothing(length: int) -> None:
    assert feed(line("echo hello\necho again")[:length]) == f"\n{greeting('run-1')}\n"


def feed(stdin: bytes) -> str:
    command = login_command("run-1", IDS)
    return subprocess.run(["sh", "-c", command], input=stdin, stdout=subprocess.PIPE, check=False).stdout.decode()


@pytest.mark.parametrize(
    ("run", "environment", "content", "word"),
    [
        ("a b", {}, "", "run id"),
        ("a'b", {}, "", "run id"),
        ("r", {"A": "a b"}, "", "A 'a b'"),
        ("r", {"A": "'"}, "", "A"),
        ("r", {"A": "$HOME"}, "", "A"),
        ("r", {"A": "a!b"}, "", "A"),
        ("r", {"A": "a\n"}, "", "A"),
        ("r", {"A B": ""}, "", "no name"),
        ("r", {"a=": ""}, "", "no name"),
        ("r", {}, ".ssm-deploy-r/../x", "name of the content"),
        ("r", {}, ".bashrc", "name of the content"),
    ],
)
def test_what_a_shell_would_read_otherwise_is_refused(
    run: str, environment: dict[str, str], content: str, word: str
) -> None:
    with pytest.raises(UsageError, match=word):
        login_command(run, environment, content=content)
