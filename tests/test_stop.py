"""Signals, in a process of its own: the first asks the run to stop, the second leaves at once."""

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

HEAD = """
import os, signal, sys, time
from ssm_deployer.cli.stop import Interrupts

def say(*words):
    print(*words, flush=True)
"""


@contextmanager
def program(body: str) -> Iterator["subprocess.Popen[str]"]:
    text = HEAD + textwrap.dedent(body)
    with subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_wakes_who_waits_and_the_program_goes_on(number: signal.Signals) -> None:
    body = """
        with Interrupts(lambda: "left\\n") as interrupts:
            say("ready", interrupts.requested)
            interrupts.wait(60)
            say("woken", interrupts.requested)
        say("end")
    """
    with program(body) as process:
        assert line(process) == "ready False"
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=20)
        assert (stdout, stderr, process.returncode) == ("woken True\nend\n", "", 0)


@pytest.mark.parametrize("second", SIGNALS)
def test_the_second_signal_says_what_is_left_behind_and_leaves_at_once(second: signal.Signals) -> None:
    body = """
        with Interrupts(lambda: "left behind: i-1\\n") as interrupts:
            say("ready")
            interrupts.wait(60)
            say("asked")
            try:
                interrupts.wait(60)
            finally:
                say("this takes too long")
    """
    with program(body) as process:
        assert line(process) == "ready"
        process.send_signal(signal.SIGINT)
        assert line(process) == "asked"
        process.send_signal(second)
        stdout, stderr = process.communicate(timeout=20)
        assert (stdout, stderr, process.returncode) == ("", "left behind: i-1\n", 130)


def test_the_second_signal_leaves_though_threads_go_on() -> None:
    body = """
        import threading
        threading.Thread(target=time.sleep, args=(60,)).start()
        with Interrupts(lambda: "left\\n") as interrupts:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
    """
    with program(body) as process:
        _, stderr = process.communicate(timeout=20)
        assert (stderr, process.returncode) == ("left\n", 130)


def test_the_second_signal_says_so_also_where_it_comes_in_the_middle_of_a_print() -> None:
    body = """
        with Interrupts(lambda: "left\\n") as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            sys.stderr.flush()
            say("go")
            while True:
                print("x" * 100)
                print("y" * 100, file=sys.stderr)
    """
    for _ in range(10):
        with program(body) as process:
            assert line(process) == "go"
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=20)
            assert (stderr.endswith("left\n"), process.returncode) == (True, 130)


def test_after_it_the_handlers_are_those_that_were_there_before() -> None:
    body = """
        before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        with Interrupts(str) as interrupts:
            assert signal.getsignal(signal.SIGINT) not in before
        say([signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before)
    """
    with program(body) as process:
        assert line(process) == "True"


def test_waiting_takes_the_time_that_was_asked_for_before_and_after_a_request() -> None:
    body = """
        with Interrupts(str) as interrupts:
            for _ in range(2):
                start = time.monotonic()
                interrupts.wait(0.05)
                say(0.05 <= time.monotonic() - start < 5)
                os.kill(os.getpid(), signal.SIGINT)
                interrupts.wait(0)
            say(abs(interrupts.now() - time.time()) < 5)
    """
    with program(
        body.replace("os.kill(os.getpid(), signal.SIGINT)", "interrupts.requested or signal.raise_signal(2)")
    ) as process:
        assert process.communicate(timeout=20)[0] == "True\nTrue\nTrue\n"


def test_time_goes_on_evenly_though_somebody_sets_the_clock() -> None:
    body = """
        with Interrupts(str) as interrupts:
            before = interrupts.now()
            wall = time.time()
            for leap in (-3600, 3600):
                time.time = lambda: wall + leap
                interrupts.wait(0.01)
                say(0.01 <= interrupts.now() - before < 60)
    """
    with program(body) as process:
        assert process.communicate(timeout=20)[0] == "True\nTrue\n"


def test_a_signal_at_any_moment_of_a_wait_wakes_it() -> None:
    body = """
        # A timer hits moments that another process's kill does not; what it calls is the handler of SIGINT.
        signal.signal(signal.SIGALRM, lambda number, frame: signal.getsignal(signal.SIGINT)(number, frame))
        for number in range(2000):
            with Interrupts(lambda: "left\\n") as interrupts:
                signal.setitimer(signal.ITIMER_REAL, 0.00002 + number % 100 * 0.000001)
                while not interrupts.requested:
                    interrupts.wait(30)
        say("woken each time")
    """
    with program(body) as process:
        assert process.communicate(timeout=20)[0] == "woken each time\n"
