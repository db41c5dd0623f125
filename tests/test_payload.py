"""The payload as text. What it does when executed: tests/payload."""

import os
import re
import subprocess
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ssm_deployer.payload
from ssm_deployer.errors import UsageError
from ssm_deployer.payload import REFUSALS, Recipe, Source, build, check_script, execution_timeout, inputs
from ssm_deployer.payload.compact import compact, short_names

PARTS = Path(ssm_deployer.payload.__file__).parent
GOLDEN = Path(__file__).parent / "golden"


def url(name: str, token: str = "") -> Source:
    query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAEXAMPLE%2F20261124%2Feu-west-1%2Fs3%2Faws4_request"
    query += "&X-Amz-Date=20261124T101112Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host"
    query += f"&X-Amz-Security-Token={token}" if token else ""
    location = (
        f"https://bucket-name.s3.eu-west-1.amazonaws.com/prefix/20261124-abc/{name}?{query}&X-Amz-Signature={'0' * 64}"
    )
    return Source(location, "ab" * 32, 1234)


def object_of_role(name: str) -> Source:
    return Source(f"s3://bucket-name/prefix/20261124-abc/{name}", "ab" * 32, 1234)


def recipe(**settings: Any) -> Recipe:
    return Recipe(
        **{
            "run_id": "20261124-abc",
            "script": url("script"),
            "bundle": url("bundle"),
            "inputs": url("inputs"),
            "unpacked_size": 5_000_000,
            "timeout": 300,
            "fetch_timeout": 60,
            "run_as": "deploy",
            **settings,
        }
    )


def by_role(**settings: Any) -> Recipe:
    sources = {name: object_of_role(name) for name in ("script", "bundle", "inputs")}
    return recipe(**sources, region="eu-west-1", endpoint_url="http://127.0.0.1:5000/", **settings)


def streamed(**settings: Any) -> Recipe:
    sources = {name: Source("", "", 1234) for name in ("script", "bundle", "inputs")}
    return recipe(**{**sources, "streamed": 20_480, "bundle_digest": "ab" * 32, **settings})


@pytest.mark.parametrize(("name", "recipe"), [("payload.sh", recipe()), ("payload-stdin.sh", streamed())])
def test_the_text_is_the_one_that_was_reviewed(name: str, recipe: Recipe) -> None:
    text = build(recipe, readable=True)
    if os.environ.get("UPDATE_GOLDEN"):
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text(), "if this is meant: UPDATE_GOLDEN=1 pytest tests/test_payload.py"


@pytest.mark.parametrize("recipe", [recipe(), by_role(), streamed(), recipe(bundle=None, inputs=None, run_as="")])
def test_shellcheck_has_nothing_to_say(recipe: Recipe, tmp_path: Path) -> None:
    script = tmp_path / "payload.sh"
    script.write_text(build(recipe, readable=True))
    done = subprocess.run(["shellcheck", "-s", "sh", "-f", "gcc", script], capture_output=True, text=True, check=False)
    assert done.stdout == ""


@pytest.mark.parametrize("shell", [["dash"], ["bash", "--posix"], ["busybox", "sh"], ["mksh"], ["yash"]])
@pytest.mark.parametrize("readable", [True, False])
@pytest.mark.parametrize("recipe", [by_role(), streamed()])
def test_every_shell_can_read_it(shell: list[str], readable: bool, recipe: Recipe, tmp_path: Path) -> None:
    script = tmp_path / "payload.sh"
    script.write_text(build(recipe, readable=readable))
    subprocess.run([*shell, "-n", script], check=True)


def test_it_stays_small_with_everything_on_and_the_longest_names() -> None:
    token = "t" * 1200  # about what an assumed role has
    longest = {"bucket-name": "b" * 63, "prefix": "a-team/with-a/long-prefix", "20261124-abc": "20261124-101112-abcdef"}

    def long(source: Source) -> Source:
        location = source.location
        for short, name in longest.items():
            location = location.replace(short, name)
        return msgspec.structs.replace(source, location=location, size=123_456_789_012)

    for kind in (lambda name: url(name, token), object_of_role):
        sources = {name: long(kind(name)) for name in ("script", "bundle", "inputs")}
        assert len(build(recipe(**sources, region="ap-southeast-2", run_id=longest["20261124-abc"]))) < 16_384


def test_a_shortened_text_means_the_same() -> None:
    """Each variable of the readable text has one short name, which no other variable has, wherever it stands."""
    readable = build(recipe(), readable=True)
    names = short_names(readable)
    assert len(set(names.values())) == len(names) > 50
    assert not {"do", "fi", "if", "in"} & set(names.values())
    functions = re.findall(r"^((?!by_)[a-z]+_[a-z_]+)\(\)", readable, re.MULTILINE)
    assert len(functions) > 5
    for name in functions:
        assert name not in names
        assert name not in build(recipe())
    left = set(re.findall(r"(?<![\\w.-])(\\w{3,})(?==)|\\$\\{?(\\w{3,})", build(recipe())))
    assert {word for pair in left for word in pair if word.islower()} == set()


def test_the_name_of_a_function_is_shortened_only_where_it_is_one() -> None:
    text = "over() {\n:\n}\nfor_all() { ! over; }\ncase $x in\nover) echo over ;;\nesac\n"
    text += "if over; then :\nelif over && over || over 1; then echo 'is over' over\nfi\n"
    assert compact(f"{text}y=$(over) z=over over-it for_all\n", {}).splitlines() == [
        "_a(){",
        ":",
        "}",
        "_b(){ ! _a;}",
        "case $x in",
        "over) echo over;;",
        "esac",
        "if _a;then :",
        "elif _a&&_a||_a 1;then echo 'is over' over",
        "fi",
        "y=$(_a) z=over over-it _b",
    ]


def test_every_exception_to_shellcheck_has_its_reason() -> None:
    """On the same line, or in the comment above it."""
    for part in PARTS.glob("*.sh"):
        lines = part.read_text().splitlines()
        for number, line in enumerate(lines):
            if "shellcheck disable" in line:
                assert re.search(r"disable=SC\d+ # \S", line), f"{part.name} line {number + 1}: {line}"


def test_the_record_calls_the_bundle_by_its_content() -> None:
    text = build(recipe(bundle_digest="cd" * 32), readable=True)
    assert f"bundle_digest='{'cd' * 32}'" in text
    assert f"bundle_sum='{'ab' * 32}'" in text
    assert f"bundle_digest='{'ab' * 32}'" in build(recipe(), readable=True)
    with pytest.raises(UsageError, match="digest"):
        build(recipe(bundle_digest="'"))


@pytest.mark.parametrize(
    ("size", "block"), [(10_240, 10_240), (512 * 20 * 7, 35_840), (512 * 104_729, 512), (1 << 30, 65_536)]
)
def test_a_tar_comes_in_the_largest_blocks_that_it_is_made_of(size: int, block: int) -> None:
    text = build(streamed(streamed=size), readable=True)
    assert f"block='{block}'\nblocks='{size // block}'\n" in text


def test_a_streamed_payload_has_nothing_of_a_download() -> None:
    text = build(streamed())
    assert not re.search("curl|wget|https|_at=|_sum='", text)


def test_the_session_token_is_written_once_and_means_the_same(tmp_path: Path) -> None:
    sources = {name: url(name, "TOKEN%2Fx%3D") for name in ("script", "bundle", "inputs")}
    text = build(recipe(**sources), readable=True)
    assert text.count("TOKEN%2Fx%3D") == 1
    header = text.partition("have()")[0]
    script = tmp_path / "header.sh"
    script.write_text(header + 'printf "%s\\n" "$script_at" "$bundle_at" "$inputs_at"')
    shown = subprocess.run(["sh", script], capture_output=True, text=True, check=True).stdout.splitlines()
    assert shown == [sources[name].location for name in ("script", "bundle", "inputs")]


def test_a_text_that_was_cut_does_nothing(tmp_path: Path) -> None:
    text = build(recipe())
    script = tmp_path / "cut.sh"
    for length in range(len(text) // 7, len(text) - 60, len(text) // 7):
        script.write_text(text[:length])
        done = subprocess.run(["sh", script], capture_output=True, check=False, env={"TMPDIR": str(tmp_path)})
        assert done.stdout == b""
    assert list(tmp_path.iterdir()) == [script]


@pytest.mark.parametrize("recipe", [recipe(), by_role()])
@pytest.mark.parametrize("readable", [True, False])
def test_ssm_finds_nothing_to_replace(recipe: Recipe, readable: bool) -> None:
    assert "{{" not in build(recipe, readable=readable)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"run_id": "a b"}, "run id"),
        ({"run_id": "a'; rm -rf /"}, "run id"),
        ({"run_id": ""}, "run id"),
        ({"run_as": "a b"}, "user"),
        ({"run_as": "-x"}, "user"),
        ({"run_as": "a\nb"}, "user"),
        ({"run_as": "a\n"}, "user"),
        ({"script": Source("https://host/a'b", "ab" * 32, 1)}, "location of the script"),
        ({"script": Source("https://host/{{ssm:x}}", "ab" * 32, 1)}, "location of the script"),
        ({"script": Source("file:///etc/passwd", "ab" * 32, 1)}, "location of the script"),
        ({"bundle": Source("https://host/a", "AB", 1)}, "digest of the bundle"),
        ({"bundle": object_of_role("bundle")}, "location of the bundle"),
        ({"script": Source("s3://bucket/a b", "ab" * 32, 1)}, "location of the script"),
        ({"streamed": 10_000}, "no tar has 10000 bytes"),
    ],
)
def test_what_cannot_be_sent_is_refused(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        build(recipe(**settings))


def test_a_refusal_does_not_show_the_signature() -> None:
    with pytest.raises(UsageError) as refusal:
        build(recipe(script=Source("https://host/a'?X-Amz-Signature=secret", "ab" * 32, 1)))
    assert "secret" not in refusal.value.message


def test_the_agent_is_given_more_time_than_the_payload_takes() -> None:
    assert execution_timeout(recipe(timeout=300, fetch_timeout=60, grace=10)) == 400
    assert execution_timeout(recipe(timeout=172_700, fetch_timeout=32, grace=10)) == 172_772
    with pytest.raises(UsageError, match="172800"):
        execution_timeout(recipe(timeout=172_800))
    with pytest.raises(UsageError, match="at least one second"):
        execution_timeout(recipe(timeout=0))


def test_every_refusal_of_the_text_is_explained_and_none_besides() -> None:
    texts = (build(each, readable=True) for each in (recipe(), by_role(), streamed()))
    used = set(re.findall(r"refuse ([a-z][a-z-]+)", "".join(texts)))
    used |= set(re.findall(r"error=([a-z][a-z-]+)", build(recipe(), readable=True)))
    assert used == set(REFUSALS)


def test_no_refusal_has_an_exit_code_of_another_meaning() -> None:
    codes = [refusal.code for refusal in REFUSALS.values()]
    assert len(set(codes)) == len(codes)
    assert all(2 < code < 124 for code in codes)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b" \n\t\n", "empty"),
        (b"#!/bin/sh\r\necho\r\n", "CRLF"),
        (b"echo\r\n", "CRLF"),
        (b"#!/bin/sh\necho \0\n", "NUL byte at offset 15"),
        ("#!/bin/sh\n".encode("utf-16"), "NUL"),
        (b"\xef\xbb\xbf#!/bin/sh\n", "byte order mark"),
        (b"#!\necho\n", "names no interpreter"),
        (b"#! \t\necho\n", "names no interpreter"),
    ],
)
def test_scripts_that_cannot_run_anywhere_are_refused(content: bytes, word: str) -> None:
    with pytest.raises(UsageError, match=word) as refusal:
        check_script(content)
    assert refusal.value.hint or word == "empty"


@pytest.mark.parametrize("content", [b"#!/bin/sh\nprintf 'a\r\n'\n", b"\x7fELF\x02\0\0", b"echo \xff\n", b"#!/bin/sh"])
def test_scripts_of_any_other_kind_are_let_through(content: bytes) -> None:
    check_script(content)


@pytest.mark.parametrize(
    ("args", "env", "word"),
    [
        ([b"a\0b"], {}, "argument 1 contains a NUL"),
        ([], {"A": "\0"}, "A contains a NUL"),
        ([], {"A B": ""}, "'A B' is no name"),
        ([], {"": ""}, "no name"),
        ([], {"A=": ""}, "no name"),
        ([], {"A\n": ""}, "no name"),
        ([], {"DEPLOY_FILES_DIR": "/"}, "set by ssm-deploy"),
        ([], {"SSM_DEPLOY_RUN_ID": ""}, "set by ssm-deploy"),
        (["x" * 131_072], {}, "argument 1 is longer"),
        (["x" * 130_000] * 15, {}, "too large"),
        ([""] * 220_000, {}, "too large"),
    ],
)
def test_arguments_and_environment_that_no_process_can_have_are_refused(
    args: list[bytes | str], env: dict[str, str], word: str
) -> None:
    with pytest.raises(UsageError, match=word):
        inputs(args, env)


BYTES = st.binary(max_size=40).map(lambda raw: raw.replace(b"\0", b""))


@pytest.mark.slow
@settings(deadline=None)  # a process per example, on a machine that may be busy
@given(
    st.lists(BYTES, max_size=5),
    st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True), BYTES, max_size=3),
)
@pytest.mark.parametrize("shell", [["dash"], ["bash", "--posix"], ["busybox", "sh"], ["mksh"]])
def test_a_shell_reads_any_bytes_as_they_were(shell: list[str], args: list[bytes], env: dict[str, bytes]) -> None:
    text = b"set -- /script\n" + inputs(args, env) + b'printf "%s\\0" "$@"\n'
    if shell == ["mksh"]:
        text = text.replace(b"printf ", b"env printf ")
    shown = subprocess.run([*shell, "-s"], input=text, capture_output=True, check=True).stdout
    pairs = [name.encode() + b"=" + value for name, value in env.items()]
    assert shown.split(b"\0")[:-1] == [*pairs, b"/script", *args]


def test_a_job_is_a_plain_value() -> None:
    assert msgspec.structs.replace(recipe(), run_id="x").run_id == "x"
    assert len(set(chain([recipe()], [recipe()]))) == 1
