"""What is kept of what a target says, and when it is answered."""

import pytest

from ssm_deployer.backends.transcript import MOST_NOISE, MOST_STDERR, MOST_STDOUT, Transcript

GREETING, LISTENING = b"ready\n", b"listening\n"


class Bench:
    def __init__(self) -> None:
        self.answers: list[str] = []
        cues = [(GREETING, lambda: self.answers.append("text")), (LISTENING, lambda: self.answers.append("content"))]
        self.transcript = Transcript(GREETING, cues)

    def hear(self, *chunks: bytes) -> str:
        for chunk in chunks:
            self.transcript.take_stdout(chunk)
        return self.transcript.stdout


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_cues_are_heard_in_whatever_pieces_they_come(bench: Bench, size: int) -> None:
    said = b"banner\nready\nlistening\nrecord\n"
    assert bench.hear(*(said[at : at + size] for at in range(0, len(said), size))) == "record\n"
    assert bench.answers == ["text", "content"]


def test_cues_are_heard_in_their_order_only(bench: Bench) -> None:
    bench.hear(LISTENING)
    assert bench.answers == []
    bench.hear(GREETING)
    assert bench.answers == ["text"]


def test_what_is_said_after_the_last_cue_is_no_cue(bench: Bench) -> None:
    assert bench.hear(GREETING, LISTENING, GREETING, LISTENING) == "ready\nlistening\n"
    assert bench.answers == ["text", "content"]


def test_who_has_stopped_listening_answers_nothing(bench: Bench) -> None:
    bench.transcript.stop_listening()
    bench.hear(GREETING)
    assert bench.answers == []


def test_of_noise_the_end_is_kept_and_of_a_record_the_beginning(bench: Bench) -> None:
    assert bench.hear(b"n" * MOST_NOISE, b"end") == "n" * (MOST_NOISE - 3) + "end"
    assert bench.hear(b"\n" + GREETING, b"begin", b"r" * MOST_STDOUT) == "begin" + "r" * (MOST_STDOUT - 5)
    assert bench.answers == ["text"]


def test_of_errors_what_comes_before_the_greeting_is_not_the_targets(bench: Bench) -> None:
    bench.transcript.take_stderr(b"banner\n")
    assert bench.transcript.stderr == "banner\n"
    bench.transcript.take_stderr(b"ready\nerror \xff\n")
    assert bench.transcript.stderr == "error \ufffd\n"


def test_of_errors_the_end_is_kept(bench: Bench) -> None:
    for _ in range(3):
        bench.transcript.take_stderr(b"e" * MOST_STDERR)
    bench.transcript.take_stderr(b"end")
    assert bench.transcript.stderr == "e" * (MOST_STDERR - 3) + "end"
