"""SSM Run Command as a backend: the payload goes out by SendCommand, the verdicts come from ListCommandInvocations."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from ssm_deployer import result
from ssm_deployer.aws import Aws, translated
from ssm_deployer.backends.content import BUNDLE, INPUTS, SCRIPT, Content, Limits, recipe_of
from ssm_deployer.backends.verdict import NOTHING_RAN, split_list_output, verdict, without_agents_sentence
from ssm_deployer.bundle import pack
from ssm_deployer.errors import UsageError
from ssm_deployer.model import Handle, Invocation, Packed, Staged, Status, Target
from ssm_deployer.payload import Recipe, build, execution_timeout
from ssm_deployer.staging import LONGEST_PRESIGN, Staging
from ssm_deployer.targets.finder import Finder

BATCH = 50  # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_SendCommand.html
DOCUMENT = "AWS-RunShellScript"
NEWEST_COMMANDS = 1_000  # how far back to look for a command that was perhaps accepted a moment ago


class SsmBackend:
    """Implements `runner.Backend` for machines that SSM manages.

    Args:
        regions: the identity in each region that has targets.
        staging: the run's prefix in S3, in one of these regions.
        run_id: names the run.
        content: what to bring to the targets.
        limits: what they may do with it.
    """

    batch = BATCH
    metered = True

    def __init__(self, regions: Iterable[Aws], staging: Staging, run_id: str, content: Content, limits: Limits) -> None:
        self._regions = {aws.region: aws for aws in regions}
        self.staging = staging
        self.run_id = run_id
        self._content = content
        self.limits = limits

    # -- the verbs of runner.Backend

    def check(self) -> None:
        """Find out before anything is sent whether a payload can be made of it.

        Raises:
            UsageError: the limits or the names cannot be.
            CloudError: there are no credentials to sign with.
        """
        longest = self._lent_seconds
        if not self.limits.by_role and longest > LONGEST_PRESIGN:
            raise UsageError(
                f"presigned URLs are good for 7 days at most, and these timeouts need {longest // 86400} days",
                "shorten --delivery-timeout, or use --delivery role",
            )
        build(self._recipe(None))

    def heed(self, wake: Callable[[], None]) -> None:
        """Nothing to do: SSM tells nothing by itself."""

    def stage(self) -> Generator[int, None, Staged]:  # noqa: D102
        packed = None
        stored = 0
        if self._content.bundle is not None:
            packed = yield from self.staging.put_stream(BUNDLE, partial(pack, self._content.bundle))
            stored = packed.size
        for name, content in ((SCRIPT, self._content.script), (INPUTS, self._content.inputs)):
            if content:
                self.staging.put(name, content)
                stored += len(content)
                yield stored
        return Staged(location=self.staging.location, size=stored, packed=packed)

    def start(self, targets: Sequence[Target], staged: Staged) -> Handle:  # noqa: D102
        ids = [target.id for target in targets]
        recipe = self._recipe(staged.packed)  # with URLs that are signed now: a wave may be sent long after the first
        parameters = {"commands": [build(recipe)], "executionTimeout": [str(execution_timeout(recipe))]}
        with translated("send the command"):
            answer = self._ssm(targets[0].region, attempts=1).send_command(
                InstanceIds=ids,
                DocumentName=DOCUMENT,
                Comment=self._comment,
                TimeoutSeconds=self.limits.delivery,
                MaxConcurrency=str(BATCH),
                # The default of 0 would stop a batch at its first failure, and percentages are per batch: a budget for
                # the fleet is not the service's to keep.
                MaxErrors="100%",
                Parameters=parameters,
            )
        return self._handle(answer["Command"]["CommandId"], targets[0].region, ids)

    def find(self, targets: Sequence[Target]) -> Sequence[Handle]:  # noqa: D102
        region = targets[0].region
        with translated("look for the command"):
            pages = self._ssm(region).get_paginator("list_commands")
            commands = pages.paginate(PaginationConfig={"MaxItems": NEWEST_COMMANDS}).search("Commands[]")
            ours = {each["CommandId"]: each["InstanceIds"] for each in commands if each.get("Comment") == self._comment}
        found = (
            self._handle(command, region, [target.id for target in targets if target.id in ids])
            for command, ids in ours.items()
        )
        return [handle for handle in found if handle.targets]

    def observe(self, handle: Handle) -> Sequence[Invocation]:  # noqa: D102
        with translated("read the verdicts"):
            pages = (
                self._ssm(handle.region)
                .get_paginator("list_command_invocations")
                .paginate(CommandId=handle.command, Details=True, PaginationConfig={"PageSize": 50})
            )
            entries = [entry for page in pages for entry in page["CommandInvocations"]]
        if not entries:
            return self._of_command(handle)
        return [self._seen(handle, entry) for entry in entries if entry["InstanceId"] in handle.targets]

    def read(self, handle: Handle, target: str) -> tuple[str, str] | None:  # noqa: D102
        # Up to 24,000 bytes of stdout and 8,000 of stderr, where list pages show 2,500 characters in all.
        with translated(f"read the output of {target}"):
            answer = self._ssm(handle.region).get_command_invocation(CommandId=handle.command, InstanceId=target)
        stdout, stderr = answer.get("StandardOutputContent", ""), answer.get("StandardErrorContent", "")
        if not stdout and not stderr:  # it is asked for because there is more than the list showed
            return None
        return result.parse(stdout, self.run_id)[1], without_agents_sentence(stderr)

    def lost(self, targets: Sequence[Target]) -> Mapping[str, str]:  # noqa: D102
        # An instance that vanishes stays InProgress in SSM until the delivery and execution timeouts have passed.
        instances = [target for target in targets if target.id.startswith("i-")]
        states: dict[str, str] = {}
        for region in {target.region for target in instances}:
            there = (target.id for target in instances if target.region == region)
            found = Finder(self._regions[region]).instances_by_id(there)
            states |= {key: instance["State"]["Name"] for key, instance in found}
        return {
            target.id: f"the instance is {states.get(target.id, 'gone')}; no verdict was seen"
            for target in instances
            if states.get(target.id, "terminated") in {"shutting-down", "terminated"}
        }

    def cancel(self, handle: Handle) -> None:  # noqa: D102
        with translated(f"cancel {handle.command}"):
            self._ssm(handle.region).cancel_command(CommandId=handle.command)

    def clean(self) -> Sequence[str]:  # noqa: D102
        return self.staging.empty()

    # -- how they do it

    def _handle(self, command: str, region: str, ids: Sequence[str]) -> Handle:
        return Handle(command=command, region=region, targets=tuple(ids), deadline=self.limits.total)

    def _ssm(self, region: str, *, attempts: int = 3) -> Any:  # noqa: ANN401 - see Aws.client
        return self._regions[region].client("ssm", attempts=attempts)

    @property
    def _comment(self) -> str:
        return f"ssm-deploy {self.run_id}"

    def _recipe(self, packed: Packed | None) -> Recipe:
        return msgspec.structs.replace(
            recipe_of(self.run_id, self._content, self.limits, packed, self._lent),
            lock_seconds=self.limits.delivery + self.limits.script,
            region=self.staging.region,
            endpoint_url=self._regions[self.staging.region].endpoint_url or "",
        )

    def _lent(self, name: str) -> str:
        if self.limits.by_role:
            return self.staging.address(name)
        return self.staging.lend(name, self._lent_seconds)

    @property
    def _lent_seconds(self) -> int:
        # A target may be reached at the very end of the delivery timeout, and a reboot makes it fetch once more.
        return self.limits.delivery + self.limits.fetch + self.limits.script + 600

    def _seen(self, handle: Handle, entry: Mapping[str, Any]) -> Invocation:
        output = "".join(plugin.get("Output", "") for plugin in entry.get("CommandPlugins", ()))
        stdout, stderr, partial = split_list_output(output)
        seen = Invocation(
            target=entry["InstanceId"],
            word=entry.get("StatusDetails") or entry.get("Status", ""),
            command=handle.command,
            stdout=stdout,
            stderr=stderr,
            partial=partial,
        )
        return verdict(seen, self.run_id)

    def _of_command(self, handle: Handle) -> Sequence[Invocation]:
        """What the command as a whole says while no target has an invocation: nothing, or that none will ever have."""
        with translated("read the verdicts"):
            commands = self._ssm(handle.region).list_commands(CommandId=handle.command)["Commands"]
        word = "".join(command.get("StatusDetails", "") for command in commands)
        detail = NOTHING_RAN.get(word, "")
        skipped = Invocation(target="", status=Status.SKIPPED, word=word, detail=detail, command=handle.command)
        return [msgspec.structs.replace(skipped, target=target) for target in handle.targets] if detail else []
