"""Everything that can be set, as validated values."""

from typing import Any, Literal

import msgspec

from ssm_deployer.config.ssh_option import SshOption
from ssm_deployer.config.values import (
    Connections,
    ConnectSeconds,
    DeliverySeconds,
    Jump,
    KeyPath,
    Number,
    Port,
    Prefix,
    Seconds,
    SelectorText,
    UserName,
)


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all parts of the file share: fields that it does not know are errors."""


class AwsSettings(_Section, frozen=True):
    """Who asks, and where. The user name and the keys are for machines that only SSH reaches."""

    username: UserName = UserName()
    private_ssh_key_path: KeyPath = KeyPath()
    public_ssh_key_path: KeyPath = KeyPath()
    profile: str = ""
    region: str = ""


class StagingSettings(_Section, frozen=True):
    """Where the files wait for the targets, and how these may read them."""

    bucket: str = ""
    prefix: Prefix = Prefix("ssm-deploy")
    kms_key: str = ""
    delivery: Literal["presigned", "role"] = "presigned"


class Timeouts(_Section, frozen=True):
    """How long things may take, in seconds: the script, fetching its files, and reaching the target at all."""

    script: Seconds = Seconds(300)
    upload: Seconds = Seconds(60)
    delivery: DeliverySeconds = DeliverySeconds(600)


class Execution(_Section, frozen=True):
    """How the targets are reached, and how the script runs on them."""

    run_as: UserName = UserName()
    grace: Seconds = Seconds(10)
    backend: Literal["auto", "ssm", "ssh"] = "auto"
    wave: Number = Number()
    max_failures: Number | None = None


class Ssh(_Section, frozen=True):
    """How SSH reaches the machines that SSM does not; port 0 and what is empty are left to OpenSSH's own settings."""

    port: Port = Port()
    options: tuple[SshOption, ...] = ()
    address: Literal["", "public", "private"] = ""
    jump: Jump = Jump()
    connections: Connections = Connections(64)
    connect_timeout: ConnectSeconds = ConnectSeconds(15)
    transfer: Literal["stream", "scp"] = "stream"
    host_keys: Literal["strict", "accept-new"] = "strict"
    key: Literal["", "ephemeral"] = ""
    tunnel: Literal["", "instance-connect", "session-manager"] = ""
    key_exchange: Literal["default", "fast"] = "default"
    sudo: bool = False


class Settings(_Section, frozen=True):
    """Everything that can be set in `config.yaml`."""

    aws: AwsSettings = AwsSettings()
    regions: tuple[str | dict[str, Any], ...] = ()
    staging: StagingSettings = StagingSettings()
    targets: tuple[SelectorText, ...] = ()
    timeouts: Timeouts = Timeouts()
    execution: Execution = Execution()
    ssh: Ssh = Ssh()

    @property
    def region_names(self) -> tuple[str, ...]:
        """The regions by name, whether the file lists `us-west-2` or `us-west-2: {…}`."""
        return tuple(name for entry in self.regions for name in ([entry] if isinstance(entry, str) else entry))

    @property
    def run_regions(self) -> tuple[str, ...]:
        """The regions that a run is for, empty if only the AWS SDK's own settings can tell."""
        return (self.aws.region,) if self.aws.region else tuple(dict.fromkeys(self.region_names))
