"""Whatever the bytes: what the script sees equals what was given, all the way through bundle and payload."""

import io
import json
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from payload.rig import RUN, Rig
from payload.test_shells import shell  # noqa: F401 - a fixture

from ssm_deployer.bundle import pack, scan
from ssm_deployer.payload import build

pytestmark = pytest.mark.slow

# A failure prints the line that repeats it.
THOROUGH = settings(
    max_examples=25,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ODD = [
    b"new\nline",
    b"quo'te\"",
    b"-dash",
    b".dot",
    b"x" * 255,
    b"\xff\xfe",
    b"{{ssm:x}}",
    b" a ",
    b"back\\slash",
    b"*?[",
]
ODD += [b"\t", b"$HOME `id`", b"\xe2\x98\x83" * 85, b"--", b"#"]
NAMES = st.one_of(st.sampled_from(ODD), st.binary(min_size=1, max_size=20)).filter(
    lambda name: name not in {b".", b".."} and not {0, ord("/")} & set(name) and not name.startswith(b".deployignore")
)
MODES = st.sampled_from([0o644, 0o600, 0o755, 0o400, 0, 0o4755, 0o2755, 0o777])
FILES = st.tuples(MODES, st.binary(max_size=50))
TREES = st.dictionaries(
    NAMES, st.recursive(FILES, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=5), max_size=4
)
WORDS = st.binary(max_size=40).map(lambda raw: raw.replace(b"\0", b""))
ENVIRONMENTS = st.dictionaries(st.from_regex(r"X[A-Za-z0-9_]{0,5}", fullmatch=True), WORDS, max_size=3)

LOOK = """#!/usr/bin/python3
import json, os, sys
found = {}
for folder, folders, files in os.walk(b"."):
    for name in folders + files:
        path = os.path.join(folder, name)
        content = None if os.path.isdir(path) else open(path, "rb").read().hex()
        found[path.hex()] = [os.stat(path).st_mode & 0o7777, content]
env = {k.decode(): v.hex() for k, v in os.environb.items() if k.startswith(b"X")}
json.dump([found, [os.fsencode(a).hex() for a in sys.argv[1:]], env], open(PLACE, "w"))
"""


def plant(folder: bytes, tree: object) -> None:
    assert isinstance(tree, dict)
    for name, what in tree.items():
        path = folder + b"/" + name
        if isinstance(what, dict):
            os.mkdir(path, 0o755)  # noqa: PTH102 - bytes that are no text
            plant(path, what)
        else:
            mode, content = what
            with open(path, "wb") as file:  # noqa: PTH123 - likewise
                file.write(content)
            os.chmod(path, mode)  # noqa: PTH101 - likewise


def expected(tree: object, above: bytes = b".") -> dict[str, list[object]]:
    assert isinstance(tree, dict)
    found: dict[str, list[object]] = {}
    for name, what in tree.items():
        path = above + b"/" + name
        if isinstance(what, dict):
            found |= {path.hex(): [0o755, None], **expected(what, path)}
        else:
            found[path.hex()] = [what[0] & 0o777, what[1].hex()]
    return found


def has_special_bits(tree: object) -> bool:
    assert isinstance(tree, dict)
    return any(
        has_special_bits(what) if isinstance(what, dict) else bool(what[0] & (stat.S_ISUID | stat.S_ISGID))
        for what in tree.values()
    )


@THOROUGH
@given(TREES, st.lists(WORDS, max_size=4), ENVIRONMENTS)
@example({name: (0o644, name) for name in ODD}, [*ODD, b"", b"'"], {"X": bytes(range(1, 256))})
def test_the_script_sees_what_was_given(rig: Rig, tree: object, args: list[bytes], env: dict[str, bytes]) -> None:
    seen(rig, tree, args, env)


def seen(rig: Rig, tree: object, args: list[bytes], env: dict[str, bytes]) -> None:
    folder = Path(tempfile.mkdtemp(dir=rig.root))
    (folder / "files").mkdir()
    plant(os.fsencode(folder / "files"), tree)
    bundle, packed = scan(folder / "files"), io.BytesIO()
    pack(bundle, packed)
    assert any("dropped" in note for note in bundle.notes) == has_special_bits(tree)
    shutil.rmtree(rig.locks, ignore_errors=True)
    script = LOOK.replace("PLACE", repr(str(folder / "seen")))
    outcome = rig.execute(build(rig.recipe(script, bundle=packed.getvalue(), args=args, environ=env, run_id=RUN)))
    assert (outcome.code, outcome.errors) == (0, "")
    files, got_args, got_env = json.loads((folder / "seen").read_text())
    assert files == expected(tree)
    assert got_args == [arg.hex() for arg in args]
    assert got_env == {name: value.hex() for name, value in env.items()}
    shutil.rmtree(folder)


def test_every_shell_shows_the_odd_ones(rig: Rig, shell: str) -> None:  # noqa: F811 - pytest's way
    text = [name for name in ODD if name != b"\xff\xfe"] if shell == "yash" else ODD
    seen(rig, {name: (0o4755, name) for name in ODD}, text, {"X": b"".join(text)})


def test_the_tar_of_busybox_unpacks_the_same(rig: Rig) -> None:
    place = rig.root / "tools"
    place.mkdir()
    busybox = shutil.which("busybox")
    assert busybox
    for name in ("tar", "gzip", "sha256sum", "wc", "rm", "chmod", "df", "tail"):
        (place / name).symlink_to(busybox)
    rig.path = f"{place}:/usr/bin:/bin"
    tree = {name: (0o4755, name) for name in ODD} | {b"d" * 250: {b"e" * 250: {b"f": (0o600, b"deep")}}}
    seen(rig, tree, ODD, {})
