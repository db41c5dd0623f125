"""Why a target may refuse to run a script: the words in its record, and what they mean to the user."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec


class Refusal(msgspec.Struct, frozen=True):
    """One reason.

    Attributes:
        code: the payload's exit code, which is all that SSM itself shows.
        message: one line for the user; the record's `detail` has the particulars.
        remedy: what to do about it.
    """

    code: int
    message: str
    remedy: str


# None of these is an exit code that shells or the agent give a meaning to.
REFUSALS: Mapping[str, Refusal] = MappingProxyType(
    {
        "no-fetch-tool": Refusal(70, "nothing on the target can download", "install curl, wget or python3 on it"),
        "download": Refusal(
            71,
            "the download failed",
            "HTTP 403: the signing session has ended or a bucket policy denies it; "
            "HTTP 000: the target needs a way to S3 (NAT, or a gateway endpoint)",
        ),
        "fetch-timeout": Refusal(
            72, "fetching and unpacking took too long", "raise --upload-timeout, or look at the target's way to S3"
        ),
        "digest": Refusal(
            73,
            "what was downloaded is not what was staged",
            "run it again; if it stays, find out who changes the bucket",
        ),
        "no-digest-tool": Refusal(74, "nothing on the target computes sha256", "install coreutils on it"),
        "no-place": Refusal(
            75,
            "no directory on the target can hold and execute the files",
            "free some room, or set TMPDIR for its agent",
        ),
        "unpack": Refusal(76, "the bundle could not be unpacked", "tar and gzip must be there"),
        "duplicate": Refusal(
            77,
            "this run has already been started on the target",
            "nothing to do: the script ran once; see the other command",
        ),
        "no-user": Refusal(78, "the script cannot be run as that user", "create the user, or choose another --run-as"),
        "no-interpreter": Refusal(
            79, "the interpreter that the script's first line names is missing", "install it, or change the `#!` line"
        ),
        "no-lock": Refusal(
            80, "no directory on the target can hold the lock against a second start", "make /var/lib or /run writable"
        ),
        "no-credentials": Refusal(
            81, "the target has no AWS credentials", "attach an instance profile, or use --delivery presigned"
        ),
        "cut-off": Refusal(83, "the connection ended before everything had arrived", "run it again"),
        "setup": Refusal(82, "the target lacks something basic", "the detail names it"),
    }
)
