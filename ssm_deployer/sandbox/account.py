"""The emulated account: what moto holds, seeded, and read the way the rest of the sandbox needs it.

moto's own models are read here and nowhere else; they are not patched.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from moto.backends import get_backend
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from ssm_deployer.sandbox.faults import InstanceFaults
from ssm_deployer.sandbox.run_command import ManagedInstance

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

PING_SECONDS = 300
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_PARTITION = "aws"
Value = TypeVar("Value")
AssumedRole = Any
"""moto's, which has no types."""


class Keys(Mapping[str, str]):
    """Secret by access key: the sandbox's own pairs, and those that IAM and STS gave out since."""

    def __init__(self) -> None:
        self._own: dict[str, str] = {}

    def issue(self) -> tuple[str, str]:
        """Return a new random pair. moto's own are drawn from a generator that is not meant for secrets."""
        access_key = "AKIA" + "".join(secrets.choice(_BASE32) for _ in range(16))
        self._own[access_key] = secrets.token_urlsafe(30)
        return access_key, self._own[access_key]

    def __getitem__(self, access_key: str) -> str:
        if access_key in self._own:
            return self._own[access_key]
        key = get_backend("iam")[DEFAULT_ACCOUNT_ID][_PARTITION].access_keys[access_key]
        if key.status != "Active":
            raise KeyError(access_key)
        return str(key.secret_access_key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)


class Sessions(Mapping[str, Value]):
    """Something of each session that STS gave out, by its access key."""

    def __init__(self, value: Callable[[AssumedRole], Value]) -> None:
        self._value = value

    def __getitem__(self, access_key: str) -> Value:
        session = get_backend("sts")[DEFAULT_ACCOUNT_ID][_PARTITION].get_assumed_role_from_access_key(access_key)
        if session is None:
            raise KeyError(access_key)
        return self._value(session)

    def __iter__(self) -> Iterator[str]:
        sessions = get_backend("sts")[DEFAULT_ACCOUNT_ID][_PARTITION].assumed_roles
        return iter([str(session.access_key_id) for session in sessions])

    def __len__(self) -> int:
        return len(list(iter(self)))


def tokens() -> Mapping[str, str]:
    """Return the token of each session."""
    return Sessions(lambda session: str(session.session_token))


def expirations() -> Mapping[str, float]:
    """Return when each session ends, in seconds since the epoch."""
    return Sessions(lambda session: float(session.expiration.timestamp()))


class Account:
    """moto's S3, EC2, STS and IAM of one account.

    Args:
        system: name and version of the distribution that instances claim to run.
    """

    def __init__(self, system: tuple[str, str]) -> None:
        self._system = system
        self._began = time.time()
        self.keys = Keys()
        self.app: WSGIApplication = DomainDispatcherApplication(create_backend_app)

    def seed(self, size: int, region: str) -> tuple[str, tuple[str, ...]]:
        """Make a bucket and `size` running instances; return the bucket's name and the instance ids.

        Raises ValueError for what is no region of EC2.
        """
        if region not in get_backend("ec2")[DEFAULT_ACCOUNT_ID].regions:
            raise ValueError(f"{region} is no region of EC2")
        bucket = f"ssm-deploy-sandbox-{secrets.token_hex(4)}"
        get_backend("s3")[DEFAULT_ACCOUNT_ID][_PARTITION].create_bucket(bucket, region)
        ec2 = get_backend("ec2")[DEFAULT_ACCOUNT_ID][region]
        reservation = ec2.run_instances(
            "ami-sandbox0",
            size,
            None,
            [],
            instance_type="t3.micro",
            tags={"instance": {"Environment": "sandbox"}},
            nics=[],
            placement=None,
            block_device_mappings=[],
            is_instance_type_default=False,
        )
        # Ids are random; named in their order, instances are shown in the order of their names, too.
        ids = tuple(sorted(instance.id for instance in reservation.instances))
        for number, key in enumerate(ids, 1):
            ec2.create_tags([key], {"Name": f"sandbox-{number}"})
        return bucket, ids

    def managed(self, region: str, faults: Mapping[str, InstanceFaults]) -> dict[str, ManagedInstance]:
        """Return the region's instances as they are now, by id. Raises KeyError for no region of AWS."""
        ec2 = get_backend("ec2")[DEFAULT_ACCOUNT_ID][region]
        now = time.time()
        # Agents ping every five minutes, all of them from the start on.
        pinged = now - (now - self._began) % PING_SECONDS
        healthy = InstanceFaults()
        return {
            instance.id: ManagedInstance(
                id=instance.id,
                state=instance.state,
                tags=dict(ec2.tags.get(instance.id, {})),
                platform="Windows" if instance.platform else faults.get(instance.id, healthy).platform,
                address=instance.private_ip or "",
                hostname=instance.private_dns_name if instance.private_ip else "",
                system=self._system,
                pinged=pinged,
                agent=faults.get(instance.id, healthy).agent,
                denied=faults.get(instance.id, healthy).denied,
            )
            for instance in ec2.all_instances()
        }

    def parameter(self, region: str, name: str) -> str | None:
        """Return the value of a plain parameter of the Parameter Store; secure strings are not resolved in scripts."""
        found = get_backend("ssm")[DEFAULT_ACCOUNT_ID][region].get_parameter(name)
        return str(found.value) if found is not None and found.parameter_type != "SecureString" else None

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Put an object; one without its bucket is dropped, as the agent only logs that."""
        s3 = get_backend("s3")[DEFAULT_ACCOUNT_ID][_PARTITION]
        if any(bucket == each for each in s3.buckets):
            s3.put_object(bucket, key, body)
