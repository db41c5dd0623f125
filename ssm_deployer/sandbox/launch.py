"""Starting, finding and ending sandboxes: a throw-away one for a `with` block, or one that is kept between commands."""

import fcntl
import os
import re
import select
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import msgspec
import platformdirs

from ssm_deployer.errors import DeployError, UsageError
from ssm_deployer.sandbox.container import PLAIN, remove
from ssm_deployer.sandbox.server import LOCK, Order, Ready

REGION = "us-east-1"
SIZE = 3
MAX_SIZE = 1_000
READY_SECONDS = 30.0
END_SECONDS = 15.0
NAME = "ssm-deploy-sandbox-"


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A running sandbox as its clients see it.

    Attributes:
        endpoint_url: where every AWS API of it answers.
        access_key: the operator's key, good for this sandbox only.
        secret_key: likewise.
        region: where its instances and its bucket are.
        bucket: an empty bucket to stage in.
        instances: ids of its running instances.
        isolation: `bubblewrap` or `plain directories`.
        pid: of the server.
        folder: holds the instances' directories.
    """

    endpoint_url: str
    access_key: str
    secret_key: str
    region: str
    bucket: str
    instances: tuple[str, ...]
    isolation: str
    pid: int
    folder: str


@contextmanager
def throwaway(size: int = SIZE, region: str = REGION, *, plain: bool = False) -> Iterator[Account]:
    """Give a sandbox for the length of the block: it ends with the block, and with this process however that ends.

    `plain` does without bubblewrap. Raises UsageError if the extra is not installed, DeployError if it does not start.
    """
    _check(size)
    # The log has no name: it is read by this process only, and only if the server gives up before it is ready.
    with tempfile.TemporaryFile() as log:
        order = Order(folder=str(folder()), size=size, region=region, plain=plain)
        process = _start(order, log)
        try:
            yield _account(order, _answer(process, log))
        finally:
            _end(process)
            # The server's own watcher does this too; here it counts where both were killed.
            remove(Path(order.folder))


def up(size: int | None = None, region: str = REGION) -> Account:
    """Start a sandbox that stays, or return the one that runs.

    Raises as `throwaway` does, and UsageError if one of another size than was asked for runs.
    """
    with _state_lock():
        running = _running()
        if running is None:
            return _keep(size or SIZE, region)
        if size not in (None, len(running.instances)):
            raise UsageError(
                f"a sandbox of another size runs already ({len(running.instances)})",
                "end it first: ssm-deploy sandbox down",
            )
        return running


def _keep(size: int, region: str) -> Account:
    _check(size)
    place = folder()
    order = Order(folder=str(place), size=size, region=region, keep=True, lock=str(_held()))
    with tempfile.TemporaryFile() as log:
        process = _start(order, log)
        try:
            account = _account(order, _answer(process, log))
            _write(account)
        except BaseException:
            process.terminate()
            _end(process)
            remove(place)
            raise
    _close_pipes(process)
    # It is meant to outlive this process: nobody waits for it here.
    process.returncode = 0
    return account


def down() -> Account | None:
    """End the sandbox that was kept, and return what it was; None if there is none."""
    with _state_lock():
        account = _running()
        if account is None:
            return None
        with suppress(ProcessLookupError):
            os.kill(account.pid, signal.SIGTERM)
        if not _gone(END_SECONDS):
            with suppress(ProcessLookupError):
                os.kill(account.pid, signal.SIGKILL)
        remove(Path(account.folder))
        _state_file().unlink(missing_ok=True)
        return account


def status() -> Account | None:
    """Return the sandbox that is kept, None if there is none; what is left of one that was killed is removed."""
    with _state_lock():
        return _running()


def isolation(account: Account) -> str:
    """Return how the instances are kept from this machine, and what that means where they are not."""
    if account.isolation == PLAIN:
        return f"{PLAIN}, without bubblewrap: scripts run as you and see your files"
    return account.isolation


def exports(account: Account) -> Mapping[str, str]:
    """Return the environment that makes any AWS client use the sandbox."""
    return {
        "AWS_ENDPOINT_URL": account.endpoint_url,
        "AWS_ACCESS_KEY_ID": account.access_key,
        "AWS_SECRET_ACCESS_KEY": account.secret_key,
        "AWS_REGION": account.region,
        "AWS_DEFAULT_REGION": account.region,
        "SSM_DEPLOY_STAGING_BUCKET": account.bucket,
        # The instances' public addresses are made up, and may be those of real machines: none is to be tried by SSH.
        "SSM_DEPLOY_EXECUTION_BACKEND": "ssm",
    }


def _check(size: int) -> None:
    if find_spec("moto") is None or find_spec("flask") is None:
        raise UsageError("the sandbox is not installed", "pip install 'ssm-deploy[sandbox]'")
    if not 1 <= size <= MAX_SIZE:
        raise UsageError(f"a sandbox cannot have {size} instances", f"ask for 1 to {MAX_SIZE}")


def folder() -> Path:
    """Make a new folder for a sandbox, and remove those that killed ones left."""
    # In plain directories its name stands in scripts' PATH and TMPDIR, where many a script forgets to quote.
    plain = re.fullmatch(r"[A-Za-z0-9/._,+@:~-]+", tempfile.gettempdir())
    parent = Path(tempfile.gettempdir() if plain else "/tmp")  # noqa: S108  # mkdtemp makes a name of its own there
    _sweep(parent)
    return Path(tempfile.mkdtemp(prefix=NAME, dir=parent))


def _sweep(parent: Path) -> None:
    """Remove the folders of this user's sandboxes that live no more."""
    for left in parent.glob(f"{NAME}*"):
        with suppress(OSError):
            found = left.lstat()
            mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
            # One that is just being started has no lock yet.
            if mine and found.st_mtime < time.time() - 2 * READY_SECONDS and not _locked(left / LOCK):
                remove(left)


def _start(order: Order, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-m", "ssm_deployer.sandbox.server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=_environment(),
        # The terminal's Ctrl-C is for the client, which then ends the server in good order.
        start_new_session=True,
    )
    assert process.stdin is not None  # noqa: S101  # PIPE was asked for
    with suppress(BrokenPipeError):
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        process.stdin.flush()
    return process


def _environment() -> dict[str, str]:
    """The user's environment without what steers AWS clients: moto makes boto3 sessions of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
    return kept | {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "MOTO_DISABLE_GLOBAL_CORS": "true",
        "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
    }


def _answer(process: "subprocess.Popen[bytes]", log: IO[bytes]) -> Ready:
    """Read the one line that the server writes when it is ready."""
    assert process.stdout is not None  # noqa: S101  # PIPE was asked for
    line = b""
    until = time.monotonic() + READY_SECONDS
    while not line.endswith(b"\n"):
        if not select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
            break
        chunk = os.read(process.stdout.fileno(), 65_536)
        if not chunk:
            break
        line += chunk
    try:
        return msgspec.json.decode(line, type=Ready)
    except msgspec.DecodeError:
        log.seek(0)
        reason = log.read().decode("utf-8", "replace").strip().rpartition("\n")[2] or "it gave no reason"
        raise DeployError(f"the sandbox did not start: {reason}") from None


def _account(order: Order, ready: Ready) -> Account:
    return Account(
        endpoint_url=f"http://127.0.0.1:{ready.port}",
        access_key=ready.access_key,
        secret_key=ready.secret_key,
        region=order.region,
        bucket=ready.bucket,
        instances=ready.instances,
        isolation=ready.isolation,
        pid=ready.pid,
        folder=order.folder,
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Close the server's stdin, which ends it, and wait; kill its session if it does not obey."""
    _close_pipes(process)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _close_pipes(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


def _state_file() -> Path:
    return Path(platformdirs.user_state_dir("ssm-deploy")) / "sandbox.json"


@contextmanager
def _state_lock() -> Iterator[None]:
    """One `up`, `down` or `status` at a time."""
    path = _state_file().with_suffix(".lock")
    with ExitStack() as held:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = held.enter_context(path.open("w"))
        except OSError as error:
            raise UsageError(
                f"the sandbox cannot be kept in {path.parent}: {error.strerror}",
                "set XDG_STATE_HOME to a directory that you can write to",
            ) from error
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _running() -> Account | None:
    """The sandbox of the state file if its server lives; else both its folder and the file are removed."""
    try:
        account = msgspec.json.decode(_state_file().read_bytes(), type=Account)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError:
        _state_file().unlink()
        return None
    if _locked(_held()):
        return account
    if Path(account.folder).name.startswith(NAME):
        remove(Path(account.folder))
    _state_file().unlink(missing_ok=True)
    return None


def _held() -> Path:
    """The lock of the sandbox that is kept: not in its folder, which others clean up."""
    return _state_file().with_suffix(".held")


def _locked(path: Path) -> bool:
    """Whether a server holds this lock: a pid may belong to somebody else by now, a lock cannot."""
    try:
        with path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _gone(seconds: float) -> bool:
    until = time.monotonic() + seconds
    while _locked(_held()):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def _write(account: Account) -> None:
    temporary = _state_file().with_suffix(".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(account))
    temporary.replace(_state_file())
