"""What a run leaves behind that ends before its targets do, and what the user can do about it by hand."""

from collections.abc import Iterator

from ssm_deployer.events import Run
from ssm_deployer.model import Status
from ssm_deployer.views.words import count


def left_at_once(run: Run, aws: str) -> Iterator[str]:
    """What the user must know who leaves before the verdicts are there.

    Args:
        run: as far as it came.
        aws: how the AWS CLI is called; empty where nothing outlives the run.
    """
    if not aws:
        yield "left at once; the sandbox ends with this"
        return
    still = [target for target in run.open if target in run.sent_at or target in run.intended]
    yield f"left at once: {len(still)} of {len(run.invocations)} targets may still run the script"
    if still:
        yield from _commands(run, aws)
        yield from _by_ssh(run)
    if any(_ways(run)[target] == "ssm" for target in run.intended):
        yield f"  a request had no answer yet; its Comment would be: ssm-deploy {run.plan.run_id}"
    if run.plan.staging and (run.leftovers or not run.cleaned):
        yield f"  left in S3: {aws} s3 rm --recursive {run.plan.staging}"


def aftermath(run: Run, aws: str) -> Iterator[str]:
    """What to do after a run that could not go on; `aws` as above."""
    if run.aborted is None:
        return
    if not (aws and run.handles):
        if run.aborted.hint:
            yield f"  try: {run.aborted.hint}"
        return
    # Not the usual hint to run again: that would be a second start beside one that may go on.
    commands = list(_commands(run, aws))
    shows = "; this shows and that stops what still runs:" if commands else ", and run again only then"
    yield f"  try: first find out what became of it{shows}"
    yield from commands
    yield from _by_ssh(run)


def _commands(run: Run, aws: str) -> Iterator[str]:
    for handle in run.handles:
        for verb in ("list-command-invocations", "cancel-command") if handle.via == "ssm" else ():
            yield f"  {aws} ssm {verb} --region {handle.region} --command-id {handle.command}"


def _by_ssh(run: Run) -> Iterator[str]:
    ways = _ways(run)
    reached = [target for target in run.invocations if target in run.sent_at or target in run.intended]
    still = [target for target in reached if ways[target] == "ssh" and not _ended(run, target)]
    if still:
        yield f"  by SSH: the script runs on to its end on {count(len(still), 'target')}, and nobody hears how it ends"


def _ended(run: Run, target: str) -> bool:
    status = run.invocations[target].status
    return status.final and status is not Status.UNKNOWN


def _ways(run: Run) -> dict[str, str]:
    return {target.id: target.via for target in run.plan.targets}
