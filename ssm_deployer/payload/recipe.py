"""What a payload is built from."""

import msgspec


class Source(msgspec.Struct, frozen=True):
    """An object that the target fetches, or a member of the tar that it is handed.

    Attributes:
        location: a presigned https URL, or `s3://BUCKET/KEY`, which the target reads with its own role; of a member of
            the tar, nothing.
        sha256: of its content, 64 hex digits; of a member, empty.
        size: of its content, in bytes.
    """

    location: str
    sha256: str
    size: int


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """One run, as its targets see it.

    Attributes:
        run_id: letters, digits and dashes.
        script: what to run.
        bundle: a tar.gz to unpack into `DEPLOY_FILES_DIR`; without one that directory is empty.
        bundle_digest: what the record shall call the bundle, by default its sha256: 64 hex digits.
        unpacked_size: of the bundle, in bytes; looked at before it is fetched.
        inputs: what `payload.inputs` made of the arguments and the environment, if there are any.
        timeout: seconds that the script may run; after a reboot by exit 194 they start anew.
        fetch_timeout: seconds for all that comes before the script.
        grace: seconds between TERM and KILL.
        lock_seconds: how long after the longest possible run a duplicate of the command may still arrive.
        run_as: the user to run the script as, empty for root.
        region: where the bucket is; for `s3://` only.
        endpoint_url: of S3, where it is not AWS's own; for `s3://` only.
        streamed: size, in bytes, of the tar by which all of it comes on stdin; 0 where it is fetched. The members are
            `script`, which can be executed, `inputs` and `bundle`.
    """

    run_id: str
    script: Source
    bundle: Source | None = None
    bundle_digest: str = ""
    unpacked_size: int = 0
    inputs: Source | None = None
    timeout: int
    fetch_timeout: int
    grace: int = 10
    lock_seconds: int = 7200
    run_as: str = ""
    region: str = ""
    endpoint_url: str = ""
    streamed: int = 0
