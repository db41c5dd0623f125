"""A backend that reaches the servers of a farm, and a user who waits for it."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from backend_contract import staged_by
from ssh.farm import Farm, Reachable

from ssm_deployer import payload
from ssm_deployer.backends.access import Access, Plain
from ssm_deployer.backends.content import Content, Limits
from ssm_deployer.backends.openssh import Login
from ssm_deployer.backends.ssh import SshBackend
from ssm_deployer.bundle import scan
from ssm_deployer.cli.upload_script import new_run_id
from ssm_deployer.model import Handle, Invocation, Target

PATIENCE = 60.0


class Client:
    """Deploys `script`, and the files below `files`, to whatever it is pointed at.

    Args:
        farm: of the servers.
        script: what to run.
        files: a folder.
        access: what each target needs.
        options: of `Login`; `script_seconds`, `fetch_seconds`, `grace` and `run_as` are those of `Limits`.
    """

    def __init__(
        self, farm: Farm, script: bytes, files: Path | None = None, access: Access | None = None, **options: Any
    ) -> None:
        self.farm = farm
        limits = Limits(
            script=options.pop("script_seconds", 30),
            fetch=options.pop("fetch_seconds", 20),
            delivery=10,
            grace=options.pop("grace", 2),
            run_as=options.pop("run_as", ""),
        )
        content = Content(
            script=script,
            inputs=payload.inputs(options.pop("arguments", ()), options.pop("environment", {})),
            bundle=scan(files) if files else None,
        )
        login = Login(**{"connect_timeout": 5, **options})
        self.backend = SshBackend(new_run_id(), content, limits, login, access or Plain())
        self.news = threading.Event()
        self.backend.heed(self.news.set)

    def start(self, *servers: Reachable, user: str = "root") -> Handle:
        return self.backend.start(targets(servers, user), staged_by(self.backend))

    def until(self, handle: Handle, done: Callable[[Sequence[Invocation]], bool]) -> Sequence[Invocation]:
        for _ in range(int(PATIENCE * 10)):
            self.news.clear()
            seen = self.backend.observe(handle)
            if done(seen):
                return seen
            self.news.wait(0.1)
        raise AssertionError(f"it never came to it: {seen}")

    def until_word(self, handle: Handle, word: str) -> None:
        self.until(handle, lambda seen: all(each.word == word for each in seen))

    def finish(self, handle: Handle) -> list[Invocation]:
        seen = self.until(handle, lambda seen: all(each.status.final for each in seen))
        assert self.backend.clean() == []
        return list(seen)

    def deploy(self, *servers: Reachable, user: str = "root") -> list[Invocation]:
        return self.finish(self.start(*servers, user=user))

    def deploy_one(self, server: Reachable, user: str = "root") -> Invocation:
        [seen] = self.deploy(server, user=user)
        return seen


def targets(servers: Sequence[Reachable], user: str = "root") -> list[Target]:
    return [
        Target(id=f"ssh:{user}@{each.host}:{each.port}", via="ssh", address=each.host, port=each.port, user=user)
        for each in servers
    ]
