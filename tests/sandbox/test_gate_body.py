"""Bodies in frames. The signatures of whole examples are AWS's own, from S3's pages on chunked upload."""

import hmac
import io
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox.gate_bench import SECRET, Bench, Sent, sign

from ssm_deployer.sandbox import sigv4
from ssm_deployer.sandbox.denial import Denied
from ssm_deployer.sandbox.gate_body import Body, Chain, receive_stream

EXAMPLE_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
EMPTY = sha256(b"").hexdigest()
SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def example(seed: str, sizes: Sequence[int], signatures: Sequence[str], end: bytes, **headers: str) -> Body:
    """Receive one of AWS's examples: a body of 66,560 times `a`."""
    chunks = [
        b"%x;chunk-signature=%s\r\n%s" % (size, signature.encode(), b"a" * size + b"\r\n" * bool(size))
        for size, signature in zip(sizes, signatures, strict=True)
    ]
    wire = b"".join(chunks) + end
    claim = sigv4.Claim(
        access_key="AKIAEXAMPLE",
        date="20130524",
        region="us-east-1",
        service="s3",
        stamp="20130524T000000Z",
        names=("host",),
        signature=seed,
        token="",
    )
    body = Body()
    environ: dict[str, Any] = {
        "wsgi.input": io.BytesIO(wire),
        "CONTENT_LENGTH": str(len(wire)),
        "HTTP_X_AMZ_DECODED_CONTENT_LENGTH": "66560",
        **headers,
    }
    receive_stream(body, environ, 1 << 20, Chain(sigv4.signing_key(EXAMPLE_SECRET, claim), claim))
    return body


def test_the_documented_example_of_signed_chunks_is_accepted() -> None:
    body = example(
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        (65_536, 1_024, 0),
        (
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ),
        b"\r\n",
    )
    assert body.file.read() == b"a" * 66_560
    body.close()


@pytest.mark.parametrize("newline", [b"\n\r\n", b"\r\n"])
def test_the_documented_example_of_a_signed_trailer_is_accepted(newline: bytes) -> None:
    body = example(
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        (65_536, 1_024, 0),
        (
            "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
            "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
            "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        ),
        b"x-amz-checksum-crc32c:sOO8/Q==%sx-amz-trailer-signature:%s\r\n\r\n"
        % (newline, b"d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"),
        HTTP_X_AMZ_TRAILER="x-amz-checksum-crc32c",
    )
    assert body.trailers == {"x-amz-checksum-crc32c": "sOO8/Q=="}
    body.close()


def streamed(chunks: Sequence[bytes], word: str, trailer: str = "") -> Sent:
    """Return a request with its body in frames, signed here independently of what is tested."""
    headers = {
        "x-amz-content-sha256": word,
        "x-amz-decoded-content-length": str(sum(map(len, chunks))),
        "Content-Encoding": "gzip, aws-chunked",
    }
    if trailer:
        headers["x-amz-trailer"] = trailer.partition(":")[0]
    sent = sign("PUT", "/bucket/key", b"", headers, how="other")
    signatures = Signatures(sent)
    wire = b""
    for chunk in (*chunks, b""):
        signature = signatures.next("PAYLOAD", f"{EMPTY}\n{sha256(chunk).hexdigest()}")
        extension = b"" if word == TRAILER else b";chunk-signature=" + signature
        wire += b"%x%s\r\n%s" % (len(chunk), extension, chunk + b"\r\n" * bool(chunk))
    if trailer:
        wire += f"{trailer}\r\n".encode()
    if word == SIGNED_TRAILER:
        signature = signatures.next("TRAILER", sha256(f"{trailer}\n".encode()).hexdigest())
        wire += b"x-amz-trailer-signature:" + signature + b"\r\n"
    return replace(sent, body=wire + b"\r\n")


class Signatures:
    def __init__(self, sent: Sent) -> None:
        self._stamp = sent.headers["X-Amz-Date"]
        self._scope = f"{self._stamp[:8]}/us-east-1/s3/aws4_request"
        self._key = b"AWS4" + SECRET.encode()
        for part in self._scope.split("/"):
            self._key = hmac.digest(self._key, part.encode(), "sha256")
        self._previous = sent.headers["Authorization"].rpartition("=")[2]

    def next(self, kind: str, hashes: str) -> bytes:
        text = "\n".join((f"AWS4-HMAC-SHA256-{kind}", self._stamp, self._scope, self._previous, hashes))
        self._previous = hmac.digest(self._key, text.encode(), "sha256").hex()
        return self._previous.encode()


WAYS = [(SIGNED, ""), (SIGNED_TRAILER, "x-amz-checksum-crc32:AAAAAA=="), (TRAILER, "x-amz-checksum-crc32:AAAAAA==")]


@pytest.mark.parametrize(("word", "trailer"), WAYS)
@settings(max_examples=100, deadline=None)
@given(chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=5))
def test_the_application_gets_the_body_out_of_its_frames(word: str, trailer: str, chunks: list[bytes]) -> None:
    seen = Bench().passes(streamed(chunks, word, trailer))
    assert seen.body == b"".join(chunks)
    environ = seen.environ
    assert environ["HTTP_CONTENT_ENCODING"] == "gzip"
    assert environ["HTTP_X_AMZ_CONTENT_SHA256"] == "UNSIGNED-PAYLOAD"
    assert environ.get("HTTP_X_AMZ_CHECKSUM_CRC32", "") == trailer.partition(":")[2]
    assert not environ.keys() & {"HTTP_X_AMZ_TRAILER", "HTTP_X_AMZ_DECODED_CONTENT_LENGTH"}


@pytest.mark.parametrize(("word", "trailer"), WAYS)
@settings(max_examples=300, deadline=None)
@given(
    at=st.integers(0, 10_000), byte=st.integers(0, 255), kind=st.sampled_from(["replace", "insert", "delete", "cut"])
)
def test_a_change_in_the_frames_is_refused_or_changes_nothing(
    word: str, trailer: str, at: int, byte: int, kind: str
) -> None:
    sent = streamed([b"some body ", b"in two chunks"], word, trailer)
    at %= len(sent.body)
    cut = {"replace": at + 1, "insert": at, "delete": at + 1, "cut": len(sent.body)}[kind]
    new = bytes([byte]) if kind in ("replace", "insert") else b""
    bench = Bench()
    answer = bench.send(replace(sent, body=sent.body[:at] + new + sent.body[cut:]))
    assert answer.status in (200, 400, 403)
    if answer.status == 200 and word != TRAILER:
        assert bench.seen[0].body == b"some body in two chunks"
        assert bench.seen[0].environ.get("HTTP_X_AMZ_CHECKSUM_CRC32", "") == trailer.partition(":")[2]


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2), (0, 1, 1, 2), (2,), (0, 1)])
def test_signed_chunks_cannot_be_swapped_doubled_or_left_out(order: Sequence[int]) -> None:
    sent = streamed([b"aaaa", b"bbbb"], SIGNED)
    size = len(sent.body.split(b"aaaa")[0]) + 6
    parts = (sent.body[:size], sent.body[size : 2 * size], sent.body[2 * size :])
    Bench().refused(replace(sent, body=b"".join(parts[at] for at in order)))


@pytest.mark.parametrize(
    "end",
    [
        b"0\r\nx-amz-copy-source:other\r\n\r\n",
        b"0\r\nx-amz-checksum-sha256:AAAA\r\n\r\n",
        b"0\r\n\r\n",
        b"0\r\nx-amz-checksum-crc32:AAAA\r\nmore\r\n\r\n",
        b"0\r\n" + b"x-amz-checksum-crc32:AAAA\r\n" * 2_000,
        b"0\r\nx-amz-checksum-crc32:AAAA",
        b"fffffffffffffff\r\n",
        b"-1\r\n",
        b"0x0\r\n\r\n",
        b"0" * 5_000,
        b"",
    ],
)
def test_other_trailers_and_broken_frames_are_refused(end: bytes) -> None:
    sent = streamed([b"abc"], TRAILER, "x-amz-checksum-crc32:AAAA")
    assert sent.body.startswith(b"3\r\nabc\r\n")
    assert Bench().refused(replace(sent, body=b"3\r\nabc\r\n" + end)) == "IncompleteBody"


def test_the_trailer_is_signed_too() -> None:
    sent = streamed([b"abc"], SIGNED_TRAILER, "x-amz-checksum-crc32:AAAAAA==")
    changed = sent.body.replace(b"AAAAAA==", b"BBBBBB==")
    assert Bench().refused(replace(sent, body=changed)) == "SignatureDoesNotMatch"
    cut = sent.body[: sent.body.index(b"x-amz-trailer-signature")] + b"\r\n"
    assert Bench().refused(replace(sent, body=cut)) == "SignatureDoesNotMatch"


def test_a_chunk_is_signed_if_it_was_said_to_be() -> None:
    sent = streamed([b"abc"], SIGNED)
    bare = b"3\r\nabc\r\n0\r\n\r\n"
    assert Bench().refused(replace(sent, body=bare)) == "IncompleteBody"
    assert Bench().refused(replace(streamed([b"abc"], TRAILER), body=sent.body)) == "IncompleteBody"
    Bench().passes(replace(streamed([b"abc"], TRAILER), body=bare))


def test_a_chunk_ends_with_its_line() -> None:
    sent = streamed([b"abc"], TRAILER)
    assert Bench().refused(replace(sent, body=sent.body.replace(b"abc\r\n", b"abcXX"))) == "IncompleteBody"


def test_a_chunk_longer_than_the_body_is_not_read() -> None:
    wire = io.BytesIO(b"100000\r\n" + bytes(1 << 20))
    more: dict[str, Any] = {"wsgi.input": wire, "CONTENT_LENGTH": str(1 << 20)}
    assert Bench().refused(streamed([b"abc"], TRAILER), **more) == "IncompleteBody"
    assert wire.tell() < 1 << 16


@pytest.mark.parametrize(
    ("length", "code"),
    [
        ("", "InvalidRequest"),
        ("2", "IncompleteBody"),
        ("4", "IncompleteBody"),
        ("-3", "InvalidRequest"),
        ("3.0", "InvalidRequest"),
        ("9" * 15, "EntityTooLarge"),
    ],
)
def test_the_decoded_length_must_be_said_and_true(length: str, code: str) -> None:
    headers = {"x-amz-content-sha256": TRAILER, "x-amz-decoded-content-length": length}
    sent = sign("PUT", "/bucket/key", b"", headers, how="other")
    body = b"3\r\nabc\r\n0\r\n\r\n"
    assert Bench().refused(replace(sent, body=body)) == code
    headers["x-amz-decoded-content-length"] = "3"
    Bench().passes(replace(sign("PUT", "/bucket/key", b"", headers, how="other"), body=body))


def test_frames_are_for_s3_and_for_signed_headers() -> None:
    headers = {"x-amz-content-sha256": TRAILER, "x-amz-decoded-content-length": "0"}
    assert Bench().refused(sign("PUT", "/bucket/key", b"", headers, how="presigned")) == "InvalidRequest"
    sent = sign("PUT", "/", b"", headers, how="other", service="sts")
    assert Bench().refused(replace(sent, body=b"0\r\n\r\n")) == "MalformedInput"


def test_a_full_disk_is_said() -> None:
    class Full:
        def write(self, _piece: bytes) -> int:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            raise OSError(28, "No space left on device")

    body = Body()
    body.file.close()
    body.file = Full()  # type: ignore[assignment]  # a stand-in for the file, of the two calls that matter
    with pytest.raises(Denied, match="No space left on device"):
        body.add(b"x")
    body.close()
