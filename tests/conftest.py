"""No test sees the AWS settings of whoever runs it."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("any machine", deadline=None, print_blob=True)
settings.load_profile("any machine")

NEUTRAL = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "TERM": "xterm-256color",
}


@pytest.fixture(scope="session", autouse=True)
def neutral_environment() -> Iterator[None]:
    """Session-wide, so that it is in force before any sandbox or client of a wider scope is made."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "SSM_DEPLOY_")):
                patch.delenv(name)
        for name, value in NEUTRAL.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell that runs the tests in the background, or nohup, has them ignore signals, and so all that they start."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
