"""The composition root: from options and settings to the objects that do the work."""

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ssm_deployer import config
from ssm_deployer.cli.keys import check_login, has_key, user_home
from ssm_deployer.cli.options import SANDBOX_SIZE
from ssm_deployer.cli.screen import console
from ssm_deployer.config import Settings
from ssm_deployer.errors import UsageError
from ssm_deployer.selector import ALL, Selector, parse_selector
from ssm_deployer.targets import Choice, Resolution, in_aws, resolve
from ssm_deployer.views.words import count

if TYPE_CHECKING:
    from ssm_deployer.aws import Aws


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a command works: the settings in force, the identity in each region, who is meant, is it a rehearsal.

    There is no region where AWS has nothing to do with it.
    """

    settings: Settings
    regions: tuple["Aws", ...]
    selectors: tuple[Selector, ...]
    rehearsal: str = ""

    @property
    def aws_command(self) -> str:
        """How the AWS CLI is called here; empty where nothing outlives this process."""
        if self.rehearsal:
            return ""
        profile = f" --profile {shlex.quote(self.settings.aws.profile)}" if self.settings.aws.profile else ""
        return f"aws{profile}"

    @property
    def look(self) -> str:
        """How a user finds out who else could be meant."""
        if self.rehearsal:
            return "-t all, or -t tag:Environment=sandbox: the instances of a sandbox have that tag, and Name=sandbox-N"
        return "`ssm-deploy targets -t all` shows what there is; -t, --region and --profile choose"

    def nobody(self, found: Resolution) -> str:
        """Why there is no target, in the user's words."""
        left_out = [f"{count(len(found.left_out), 'machine')} left out of `all`"] if found.left_out else []
        if found.notes or left_out:
            return f"no target: {'; '.join([*found.notes, *left_out])}"
        return f"no target in {', '.join(aws.region for aws in self.regions)}"  # hosts are targets, so one was asked

    def resolve(self) -> Resolution:
        """Find the targets, and the way to each.

        Raises:
            UsageError: an inventory is wrong, or SSH lacks something that it needs.
            CloudError: AWS refused or did not answer.
        """
        resolution = resolve(self.selectors or (ALL,), self.regions, self.choice)
        check_login(self.settings, resolution.targets)
        return resolution

    @property
    def choice(self) -> Choice:
        """What the settings leave to choose for each target."""
        settings = self.settings
        return Choice(
            backend=settings.execution.backend,
            user=str(settings.aws.username),  # plain, since targets are written as JSON
            port=int(settings.ssh.port),
            address=settings.ssh.address,
            tunnel=settings.ssh.tunnel,
            key=has_key(settings, os.environ, user_home()),
        )


def settings_from(options: Mapping[str, Any]) -> Settings:
    """Put together file, environment and the flags that were given."""
    named = options["config"] or os.environ.get("SSM_DEPLOY_CONFIG")
    flags = {flag: options.get(flag.removeprefix("--").replace("-", "_")) for flag in config.FLAGS}
    return config.load(Path(named) if named else None, os.environ, flags)


@contextmanager
def place(options: Mapping[str, Any], settings: Settings) -> Iterator[Place]:
    """Connect to the AWS account that the settings name, or start a throw-away one for as long as this lasts.

    Raises:
        UsageError: the targets, the backend and a rehearsal do not go together.
    """
    selectors = tuple(parse_selector(text) for text in options["selectors"])
    if options["sandbox"] or options["sandbox_size"]:
        _check_rehearsal(selectors, settings)
        with _rehearsal(options["sandbox_size"] or SANDBOX_SIZE, selectors, settings) as here:
            yield here
        return
    chosen = selectors or tuple(parse_selector(text) for text in settings.targets)
    _check_backend(chosen, options.get("backend"))
    yield Place(settings=settings, regions=tuple(_regions(chosen, settings)), selectors=chosen)


def _regions(selectors: tuple[Selector, ...], settings: Settings) -> Iterator["Aws"]:
    if in_aws(selectors or (ALL,)):
        from ssm_deployer.aws import Aws  # noqa: PLC0415 - boto3 takes long, and SSH alone does without

        yield from (Aws(settings.aws.profile, region) for region in settings.run_regions or ("",))


def _hosts(selectors: tuple[Selector, ...]) -> str:
    """What names machines by their addresses, as the user would write it."""
    kinds = {"ssh": "", "file": "file:"}
    named = (f"{kinds[each.kind]}{each.values[0]}" for each in selectors if each.kind in kinds)
    return next(named, "")


def _check_backend(selectors: tuple[Selector, ...], flag: str | None) -> None:
    # A setting speaks of the machines that AWS knows; a flag is about these very targets.
    named = _hosts(selectors)
    if named and flag == "ssm":
        raise UsageError(f"{named} is reached by SSH, and --backend ssm leaves that out", "give --backend auto")


def _check_rehearsal(selectors: tuple[Selector, ...], settings: Settings) -> None:
    named = _hosts(selectors) or ("--backend ssh" if settings.execution.backend == "ssh" else "")
    if named:
        raise UsageError(
            f"{named} does not go with --sandbox: a rehearsal touches no real machine",
            "rehearse with -t all and --backend ssm",
        )


@contextmanager
def _rehearsal(size: int, selectors: tuple[Selector, ...], settings: Settings) -> Iterator[Place]:
    from ssm_deployer.aws import Aws  # noqa: PLC0415 - as above
    from ssm_deployer.sandbox import launch  # noqa: PLC0415 - it needs the extra `sandbox`

    with ExitStack() as held:
        instances = count(size, "instance")
        with console(stderr=True).status(f"starting a sandbox of {instances}"):
            account = held.enter_context(launch.throwaway(size))
        aws = Aws(
            region=account.region,
            credentials=(account.access_key, account.secret_key),
            endpoint_url=account.endpoint_url,
        )
        yield Place(
            settings=_rehearsed(settings, account.bucket),
            regions=(aws,),
            selectors=selectors or (ALL,),
            rehearsal=f"rehearsal in a sandbox of {instances} ({launch.isolation(account)})",
        )


def _rehearsed(settings: Settings, bucket: str) -> Settings:
    replace = msgspec.structs.replace
    # Buckets, keys and ids of the real account mean nothing in the other one; its instances' addresses are made up, and
    # may be those of real machines.
    return replace(
        settings,
        staging=replace(settings.staging, bucket=bucket, kms_key=""),
        execution=replace(settings.execution, backend="ssm"),
    )
