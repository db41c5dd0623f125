"""Getting the content onto the target, and what stops that."""

from pathlib import Path

import pytest
from payload.rig import QUERY, RUN, Outcome, Rig, equip

from ssm_deployer.payload import REFUSALS, build

SLOW = pytest.mark.slow
FETCHERS = [
    pytest.param(["curl"], id="curl"),
    pytest.param(["wget"], id="wget", marks=SLOW),
    pytest.param(["/usr/bin/python3"], id="python3", marks=SLOW),
    pytest.param(["busybox"], id="busybox wget", marks=SLOW),
    pytest.param(["busybox:wget"], id="wget of busybox", marks=SLOW),
]


def refused(outcome: Outcome, word: str, run: str = RUN) -> str:
    record = outcome.record_of(run)
    assert (record.outcome, record.error, record.code) == ("refused", word, REFUSALS[word].code)
    assert outcome.code == REFUSALS[word].code
    assert outcome.extract == ""
    assert QUERY.strip("?") not in outcome.errors + outcome.stdout.decode()
    assert outcome.errors == f"ssm-deploy: {word}: {record.detail}\n"
    return record.detail


@pytest.mark.parametrize("programs", FETCHERS)
def test_any_one_fetcher_is_enough(rig: Rig, programs: list[str]) -> None:
    equip(rig, programs)
    outcome = rig.run("#!/bin/sh\ncat a\n", files={"a": b"content\n"}, args=["x"])
    assert outcome.extract == "content\n"


@pytest.mark.parametrize("programs", FETCHERS)
@pytest.mark.parametrize("status", [403, 404])
def test_every_fetcher_tells_the_status(rig: Rig, programs: list[str], status: int) -> None:
    equip(rig, programs)
    detail = refused(rig.run("#!/bin/sh\n", faults=[str(status), "always"]), "download")
    assert detail.startswith(f"script: HTTP {status} from 127.0.0.1:")


@SLOW
@pytest.mark.parametrize("programs", FETCHERS)
def test_what_passes_is_tried_again(rig: Rig, programs: list[str]) -> None:
    equip(rig, programs)
    assert rig.run("#!/bin/sh\necho ran\n" + "#" * 5000, faults=["503", "cut"]).extract == "ran\n"
    assert len(rig.store.requests) == 3


def test_nothing_to_fetch_with_is_one_clear_line(rig: Rig) -> None:
    equip(rig, [])
    assert refused(rig.run("#!/bin/sh\n"), "no-fetch-tool") == "none of curl, wget, python3, busybox"


@SLOW
@pytest.mark.parametrize("fault", ["altered", "xml"])
def test_content_that_differs_is_never_run(rig: Rig, fault: str) -> None:
    outcome = rig.run("#!/bin/sh\necho ran; " + "#" * 30, faults=[fault, "always"], fetch_timeout=2)
    record = outcome.record
    assert record.error in {"digest", "fetch-timeout"}
    assert "ran" not in outcome.extract


def test_an_altered_bundle_is_not_unpacked(rig: Rig) -> None:
    recipe = rig.recipe("#!/bin/sh\necho ran\n", files={"a": b"x" * 1000})
    rig.store.faults["bundle"] = ["altered"]
    assert "bundle: " in refused(rig.execute(build(recipe)), "digest")


def test_a_bundle_that_is_no_archive_is_refused(rig: Rig) -> None:
    refused(rig.run("#!/bin/sh\n", bundle=b"no archive"), "unpack")


@SLOW
def test_a_server_that_never_answers_meets_the_deadline(rig: Rig) -> None:
    outcome = rig.run("#!/bin/sh\n", faults=["hang", "always"], fetch_timeout=1)
    refused(outcome, "fetch-timeout")
    assert outcome.seconds < 20


@SLOW
def test_a_server_that_always_fails_is_given_up(rig: Rig) -> None:
    detail = refused(rig.run("#!/bin/sh\n", faults=["500", "always"], fetch_timeout=4), "fetch-timeout")
    assert "HTTP 500" in detail


def test_redirects_without_end_are_not_followed(rig: Rig) -> None:
    refused(rig.run("#!/bin/sh\n", faults=["302", "always"]), "download")


def test_hardly_anything_is_needed(rig: Rig) -> None:
    """Everything else that PATH offers may be missing."""
    equip(rig, ["curl"])
    assert rig.run("#!/bin/sh\nexit 7\n", files={"a": b""}, args=["x"]).code == 7


@pytest.mark.parametrize("name", ["curl", "wget"])
def test_a_presigned_url_is_no_argument(rig: Rig, name: str) -> None:
    """Anyone on the machine may read argument lists."""
    equip(rig, [name])
    rig.wrap(name, f'echo "$@" >>{rig.root}/arguments')
    assert rig.run("#!/bin/sh\n").code == 0
    assert QUERY not in (rig.root / "arguments").read_text()


def test_a_tools_own_words_are_passed_on_without_the_signature(rig: Rig) -> None:
    equip(rig, ["curl"])
    rig.wrap("curl", "cat >&2; exit 3")
    detail = refused(rig.run("#!/bin/sh\n", fetch_timeout=3), "fetch-timeout")
    assert "url = http://127.0.0.1" in detail


@SLOW
def test_unpacking_counts_as_fetching(rig: Rig) -> None:
    equip(rig, ["curl"])
    rig.wrap("tar", "sleep 1.2")
    refused(rig.run("#!/bin/sh\necho ran\n", files={"a": b""}, fetch_timeout=1), "fetch-timeout")


@SLOW
def test_an_unpacking_that_hangs_is_ended(rig: Rig) -> None:
    equip(rig, ["curl"])
    rig.wrap("tar", "sleep 60")
    refused(rig.run("#!/bin/sh\necho ran\n", files={"a": b""}, fetch_timeout=1), "fetch-timeout")


def test_a_fetcher_that_cannot_be_executed_is_passed_over(rig: Rig) -> None:
    equip(rig, ["wget"])
    (Path(rig.path) / "curl").write_text("#!/bin/sh\necho 'curl: error while loading shared libraries' >&2\nexit 127\n")
    (Path(rig.path) / "curl").chmod(0o755)
    assert rig.run("#!/bin/sh\necho ran\n").extract == "ran\n"
    (Path(rig.path) / "wget").unlink()
    detail = refused(rig.run("#!/bin/sh\n", run_id=f"{RUN}-2"), "no-fetch-tool", f"{RUN}-2")
    assert detail == "none of curl, wget, python3, busybox, curl is broken"


@pytest.mark.parametrize(
    ("program", "name", "text"),
    [("curl", ".curlrc", "proxy = http://127.0.0.1:1/\n"), ("wget", ".wgetrc", "http_proxy = http://127.0.0.1:1/\n")],
)
def test_the_settings_of_roots_own_tools_are_not_read(rig: Rig, program: str, name: str, text: str) -> None:
    equip(rig, [program])
    rig.env["HOME"] = str(rig.root)
    (rig.root / name).write_text(text)
    assert rig.run("#!/bin/sh\necho ran\n").extract == "ran\n"


def test_a_redirect_that_leads_somewhere_is_followed(rig: Rig) -> None:
    assert rig.run("#!/bin/sh\necho ran\n", faults=["302"]).extract == "ran\n"
