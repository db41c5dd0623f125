"""The backends that a plan needs, each made of the settings."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ssm_deployer.backends.access import Access, Plain
from ssm_deployer.backends.content import Content, Limits
from ssm_deployer.backends.openssh import Login
from ssm_deployer.cli.keys import key_file
from ssm_deployer.cli.wire import Place
from ssm_deployer.config import Settings
from ssm_deployer.errors import UsageError
from ssm_deployer.model import Target
from ssm_deployer.runner import Backend

if TYPE_CHECKING:
    from ssm_deployer.backends.ssh import SshBackend
    from ssm_deployer.backends.ssm import SsmBackend

# Each is imported when it is needed: boto3 takes long, and hosts alone do without.

# At once through one endpoint: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/connect-using-eice.html
ENDPOINT_CONNECTIONS = 20


class Ways(msgspec.Struct, frozen=True, kw_only=True):
    """How a plan's targets are reached: the backends by `Target.via`, and where content waits in S3, if it does."""

    backends: Mapping[str, Backend]
    staging: str = ""


def ways_to(targets: Sequence[Target], here: Place, run_id: str, content: Content) -> Ways:
    """Make the backends that these targets need, and check that each could do its work.

    Raises:
        UsageError: settings that one of them needs are missing or wrong.
        CloudError: AWS refused or did not answer.
    """
    needed = {target.via for target in targets}
    backends: dict[str, Backend] = {}
    staging = ""
    if "ssm" in needed:
        ssm = _ssm_backend(here, run_id, content)
        backends["ssm"], staging = ssm, ssm.staging.location
    if "ssh" in needed:
        backends["ssh"] = _ssh_backend(targets, here, run_id, content)
    return Ways(backends=backends, staging=staging)


def _ssm_backend(here: Place, run_id: str, content: Content) -> "SsmBackend":
    from ssm_deployer.backends.ssm import SsmBackend  # noqa: PLC0415 - see above
    from ssm_deployer.staging import Staging  # noqa: PLC0415

    wanted = here.settings.staging
    if not wanted.bucket:
        raise UsageError(
            "no S3 bucket is set for the files to wait in",
            "give --bucket, or set staging.bucket in config.yaml; `aws s3 mb s3://NAME` makes one",
        )
    folder = f"{wanted.prefix}/{run_id}".lstrip("/")
    staging = Staging(_bucket_client(here, wanted.bucket), wanted.bucket, folder, kms_key=wanted.kms_key)
    backend = SsmBackend(here.regions, staging, run_id, content, limits(here.settings))
    backend.check()
    return backend


def _bucket_client(here: Place, bucket: str) -> Any:  # noqa: ANN401 - see Aws.client
    """Make a client of the bucket's region, which must be one that the run is for."""
    from ssm_deployer.staging import bucket_region  # noqa: PLC0415 - see above

    actual = bucket_region(here.regions[0].client("s3"), bucket)
    for aws in here.regions:
        if aws.region == actual:
            return aws.client("s3")
    names = ", ".join(aws.region for aws in here.regions)
    raise UsageError(
        f"the bucket {bucket} is in {actual}, the targets are in {names}",
        f"name a bucket in {names} with --bucket or staging.bucket",
    )


def _ssh_backend(targets: Sequence[Target], here: Place, run_id: str, content: Content) -> "SshBackend":
    from ssm_deployer.backends.ssh import SshBackend  # noqa: PLC0415 - see above

    how = login(here.settings)
    backend = SshBackend(run_id, content, limits_of_ssh(here.settings), how, _access(targets, here, how))
    backend.check()
    return backend


def _access(targets: Sequence[Target], here: Place, how: Login) -> Access:
    """What EC2 has to offer, if some instance is reached by SSH."""
    if not any(target.via == "ssh" and target.id.startswith("i-") for target in targets):
        return Plain()
    from ssm_deployer.backends.ec2 import access  # noqa: PLC0415 - see above

    ssh = here.settings.ssh
    return access(how, here.regions, ephemeral=bool(ssh.key), tunnel=ssh.tunnel or None)


def limits_of_ssh(settings: Settings) -> Limits:
    """How the payload runs on a target that SSH reaches."""
    return msgspec.structs.replace(limits(settings), delivery=settings.ssh.connect_timeout, by_role=False)


def limits(settings: Settings) -> Limits:
    """How the payload runs on a target that SSM reaches."""
    return Limits(
        script=settings.timeouts.script,
        fetch=settings.timeouts.upload,
        delivery=settings.timeouts.delivery,
        grace=settings.execution.grace,
        run_as=settings.execution.run_as,
        by_role=settings.staging.delivery == "role",
    )


def login(settings: Settings) -> Login:
    """How SSH logs in."""
    ssh = settings.ssh
    most = ENDPOINT_CONNECTIONS if ssh.tunnel == "instance-connect" else ssh.connections
    return Login(
        user=settings.aws.username,
        key=key_file(settings),
        port=ssh.port,
        options=ssh.options,
        jump=ssh.jump,
        connections=min(ssh.connections, most),
        connect_timeout=ssh.connect_timeout,
        transfer=ssh.transfer,
        host_keys=ssh.host_keys,
        key_exchange=ssh.key_exchange,
        sudo=ssh.sudo,
    )
