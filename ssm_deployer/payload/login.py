"""How a payload gets onto a target by a login: the command for whatever shell the user has there, and its stdin."""

import re
from collections.abc import Mapping

from ssm_deployer.errors import UsageError
from ssm_deployer.payload.compose import RUN_ID, valid

# What the SSM agent gives a script, beside what it is told by `environment`.
_AGENTS = {"LANG": "C.UTF-8", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PWD": "/"}
_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_VALUE = re.compile(r"[]A-Za-z0-9_./:,@+=[-]*")
_CONTENT = re.compile(r"\.ssm-deploy-[A-Za-z0-9._-]+")


def greeting(run_id: str) -> str:
    """Give the line, all of it, that parts what the login prints from what the target has to say, on both streams."""
    return f"ssm-deploy-ready {valid(RUN_ID, run_id, 'run id')}"


def listening(run_id: str) -> str:
    """Give the line, all of it, by which a payload asks for the tar, on stdout: stdin is read from now on.

    What comes earlier piles up in the server, which costs it CPU (docs/architecture.md); and to a target that refuses
    nothing of it goes.
    """
    return f"ssm-deploy-listening {valid(RUN_ID, run_id, 'run id')}"


def line(text: str) -> bytes:
    """Make the beginning of stdin of a payload's text: a line with a number, and so many bytes.

    A shell reads a line byte by byte, each with a call of its own; `dd` takes a third of the time for the whole text as
    it is, and no more than it was told, so that all that follows is left for others. To make the text smaller would
    cost the target another two processes.
    """
    raw = text.strip().encode("ascii")
    return b"%d\n%b" % (len(raw), raw)


def login_command(run_id: str, environment: Mapping[str, str], *, sudo: bool = False, content: str = "") -> str:
    """Give the command that makes a login shell the payload: it greets, and reads the text that `line` made.

    Args:
        run_id: of the text's recipe.
        environment: what the script finds beside what is the same for all: SSM_COMMAND_ID, AWS_SSM_INSTANCE_ID and
            AWS_SSM_REGION_NAME.
        sudo: whether to become root by `sudo -n`.
        content: name of a file in the user's home that holds the tar, if that does not come by stdin: `.ssm-deploy-…`.

    Raises:
        UsageError: something that cannot be put into it.
    """
    words = [
        *(_word(name, value) for name, value in (_AGENTS | dict(environment)).items()),
        *('"AWS_SSM_PLATFORM_NAME=$NAME"', '"AWS_SSM_PLATFORM_VERSION=$VERSION_ID"'),
        *(f'${{{name}:+"{name}=${name}"}}' for name in ("TMPDIR", "SSM_DEPLOY_STATE_DIR")),
    ]
    if content:
        words.append(f'"SSM_DEPLOY_CONTENT=$HOME/{valid(_CONTENT, content, "name of the content")}"')
    # What sudo complains of is read by the client.
    speak, become = ("export LC_ALL=C; ", "sudo -n ") if sudo else ("", "")
    outer = f'{_SYSTEM}; {speak}exec {become}/usr/bin/env -i {" ".join(words)} /bin/sh -c "$0"'
    return f"exec /bin/sh -c '{outer}' '{_INNER.format(greeting=greeting(run_id))}'"


# Every shell takes single quotes for what they are, if there is neither a backslash, a `!` nor a newline within.
_SYSTEM = "NAME=Linux VERSION_ID=; [ -r /etc/os-release ] && . /etc/os-release"
# What the login printed may have no last newline. A text that was cut does nothing; from `$T` the payload makes a file.
_INNER = (
    "echo; echo {greeting}; echo {greeting} >&2; read -r n && T=$(dd bs=$n count=1 iflag=fullblock 2>/dev/null)"
    ' && [ ${{#T}} = $n ] && eval "$T"'
)


def _word(name: str, value: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of an environment variable")
    return f'"{name}={valid(_VALUE, value, name)}"'
