"""What any backend brings to its targets, and what these may do with it."""

import hashlib
from collections.abc import Callable

import msgspec

from ssm_deployer.bundle import Bundle
from ssm_deployer.model import Packed
from ssm_deployer.payload import Recipe, Source

# What the parts are called where they wait for the targets.
BUNDLE = "bundle.tar.gz"
SCRIPT = "script"
INPUTS = "inputs"


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What the targets get: the script, its arguments and environment, and the files."""

    script: bytes
    inputs: bytes = b""
    bundle: Bundle | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How the payload runs on a target; times in seconds.

    Attributes:
        script: for the script.
        fetch: for the content to be there and unpacked.
        delivery: for the target to be reached at all.
        grace: between TERM and KILL.
        run_as: the user to run the script as, empty for whom the payload runs as.
        by_role: whether targets read the staged content with a role of their own; for SSM only.
    """

    script: int
    fetch: int
    delivery: int
    grace: int
    run_as: str = ""
    by_role: bool = False

    @property
    def total(self) -> int:
        """Seconds after which every verdict must be there, with a minute for the slowness of what is in between."""
        return self.delivery + self.fetch + self.script + self.grace + 60


def recipe_of(
    run_id: str, content: Content, limits: Limits, packed: Packed | None, locate: Callable[[str], str]
) -> Recipe:
    """Say what a payload is built from, whichever way it goes.

    Args:
        run_id: names the run.
        content: what the targets get.
        limits: what they may do with it.
        packed: what the bundle has come to, None without one or before.
        locate: says where a part is, by its name.
    """

    def source(name: str, part: bytes) -> Source:
        return Source(location=locate(name), sha256=hashlib.sha256(part).hexdigest(), size=len(part))

    return Recipe(
        run_id=run_id,
        script=source(SCRIPT, content.script),
        inputs=source(INPUTS, content.inputs) if content.inputs else None,
        bundle=Source(location=locate(BUNDLE), sha256=packed.sha256, size=packed.size) if packed else None,
        bundle_digest=packed.content_sha256 if packed else "",
        unpacked_size=content.bundle.unpacked_size if content.bundle else 0,
        timeout=limits.script,
        fetch_timeout=limits.fetch,
        grace=limits.grace,
        run_as=limits.run_as,
    )
