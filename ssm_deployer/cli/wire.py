"""The composition root: from options and settings to the objects that do the work."""

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from ssm_deployer import config
from ssm_deployer.aws import Aws
from ssm_deployer.cli.options import SANDBOX_SIZE
from ssm_deployer.config import Settings
from ssm_deployer.selector import ALL, Selector, parse_selector
from ssm_deployer.targets import Resolution, resolve
from ssm_deployer.views.words import count


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a command works: the settings in force, the identity in each region, who is meant, is it a rehearsal."""

    settings: Settings
    regions: tuple[Aws, ...]
    selectors: tuple[Selector, ...]
    rehearsal: str = ""

    @property
    def aws_command(self) -> str:
        """How the AWS CLI is called here; empty where nothing outlives this process."""
        if self.rehearsal:
            return ""
        profile = f" --profile {shlex.quote(self.settings.aws.profile)}" if self.settings.aws.profile else ""
        return f"aws{profile}"

    def resolve(self) -> Resolution:
        """Find the targets."""
        return resolve(self.selectors or (ALL,), self.regions)


def settings_from(options: Mapping[str, Any]) -> Settings:
    """Put together file, environment and the flags that were given."""
    path = options["config"] or (Path(os.environ["SSM_DEPLOY_CONFIG"]) if "SSM_DEPLOY_CONFIG" in os.environ else None)
    flags = {flag: options.get(flag.removeprefix("--").replace("-", "_")) for flag in config.FLAGS}
    return config.load(path, os.environ, flags)


@contextmanager
def place(options: Mapping[str, Any], settings: Settings) -> Iterator[Place]:
    """Connect to the AWS account that the settings name, or start a throw-away one for as long as this lasts."""
    selectors = tuple(parse_selector(text) for text in options["selectors"])
    if not (options["sandbox"] or options["sandbox_size"]):
        chosen = selectors or tuple(parse_selector(str(text)) for text in settings.targets)
        regions = tuple(Aws(settings.aws.profile, region) for region in settings.run_regions or ("",))
        yield Place(settings=settings, regions=regions, selectors=chosen)
        return
    from ssm_deployer.cli.screen import console  # noqa: PLC0415 - rich is 40 ms that only this needs here
    from ssm_deployer.sandbox import launch  # noqa: PLC0415 - it needs the extra `sandbox`

    size = options["sandbox_size"] or SANDBOX_SIZE
    with ExitStack() as held:
        instances = count(size, "instance")
        with console(stderr=True).status(f"starting a sandbox of {instances}"):
            account = held.enter_context(launch.throwaway(size))
        aws = Aws(
            region=account.region,
            credentials=(account.access_key, account.secret_key),
            endpoint_url=account.endpoint_url,
        )
        # Buckets, keys and ids of the real account mean nothing in this one.
        staging = msgspec.structs.replace(settings.staging, bucket=account.bucket, kms_key="")
        yield Place(
            settings=msgspec.structs.replace(settings, staging=staging),
            regions=(aws,),
            selectors=selectors or (ALL,),
            rehearsal=f"rehearsal in a sandbox of {instances} ({launch.isolation(account)})",
        )
