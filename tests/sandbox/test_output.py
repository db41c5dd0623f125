import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssm_deployer.sandbox.output import cut, short

TITLE = "\n----------ERROR-------\n"
OUT = "\n---Output truncated---"
ERR = "\n---Error truncated----"


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, ""), (1, "x"), (23_999, "x" * 23_999), (24_000, "x" * 23_980 + "--output truncated--")],
)
def test_a_stream_of_24000_bytes_or_more_is_cut(size: int, expected: str) -> None:
    assert cut(b"x" * size) == expected


def test_a_cut_may_split_a_character() -> None:
    assert cut("é".encode() * 12_000 + b"x").startswith("é" * 11_990 + "--")
    assert cut(b"x" + "é".encode() * 12_000).startswith("x" + "é" * 11_989 + "\ufffd--")


@pytest.mark.parametrize(
    ("stdout", "stderr", "expected"),
    [
        ("", "", ""),
        ("out", "", "out"),
        ("", "err", f"{TITLE}err"),
        ("out", "err", f"out{TITLE}err"),
        ("o" * 200, "", "o" * 77 + OUT),
        ("o" * 100, "", "o" * 77 + OUT),
        ("o" * 99, "", "o" * 99),
        ("", "e" * 200, TITLE + "e" * 53 + ERR),
        ("o" * 200, "e" * 200, "o" * 15 + OUT + TITLE + "e" * 15 + ERR),
        ("o" * 10, "e" * 200, "o" * 10 + TITLE + "e" * 43 + ERR),
        ("o" * 200, "e" * 10, "o" * 43 + OUT + TITLE + "e" * 10),
    ],
)
def test_the_short_output_holds_both_streams_in_its_capacity(stdout: str, stderr: str, expected: str) -> None:
    assert short(stdout.encode(), stderr.encode(), 100) == expected


@given(st.binary(max_size=3_000), st.binary(max_size=3_000))
def test_the_short_output_never_exceeds_2500_characters(stdout: bytes, stderr: bytes) -> None:
    assert len(short(stdout, stderr)) <= 2_500
