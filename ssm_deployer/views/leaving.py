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
    of_all = f"{len(_without_end(run))} of {count(len(run.invocations), 'target')}"
    yield f"left at once: {of_all} may still run the script"
    yield from _commands(run, aws)
    yield from _apart_from_commands(run)
    if run.plan.staging and (run.leftovers or not run.cleaned):
        yield f"  left in S3: {aws} s3 rm --recursive {run.plan.staging}"


def aftermath(run: Run, aws: str) -> Iterator[str]:
    """What to do after a run that could not go on, or did not see every end; `aws` as above."""
    if not (aws and _without_end(run)):
        if run.aborted is not None and run.aborted.hint:
            yield f"  try: {run.aborted.hint}"
        return
    # Not the usual hint to run again: that would be a second start beside one that may go on.
    commands = list(_commands(run, aws))
    shows = "; this shows and that stops what still runs:" if commands else ", and run again only then"
    yield f"  try: first find out what became of it{shows}"
    yield from commands
    yield from _apart_from_commands(run)


def _without_end(run: Run) -> list[str]:
    """The targets that may still run the script, for all that was seen."""
    reached = {*run.sent_at, *run.intended}
    return [
        target
        for target, invocation in run.invocations.items()
        if invocation.status is Status.UNKNOWN or (target in reached and not invocation.status.final)
    ]


def _commands(run: Run, aws: str) -> Iterator[str]:
    left = set(_without_end(run))
    for handle in run.handles:
        if handle.via == "ssm" and left.intersection(handle.targets):
            for verb in ("list-command-invocations", "cancel-command"):
                yield f"  {aws} ssm {verb} --region {handle.region} --command-id {handle.command}"


def _apart_from_commands(run: Run) -> Iterator[str]:
    """What no command of AWS shows: requests that had no answer, and targets of SSH."""
    ways = {target.id: target.via for target in run.plan.targets}
    left = _without_end(run)
    if any(ways[target] == "ssm" and target not in run.sent_at for target in left):
        yield f"  a request had no answer; its Comment would be: ssm-deploy {run.plan.run_id}"
    by_ssh = [run.invocations[target].status for target in left if ways[target] == "ssh"]
    asked = by_ssh.count(Status.CANCELLING)
    for number, what in ((asked, "was asked to stop"), (len(by_ssh) - asked, "may run on to its end")):
        if number:
            yield f"  by SSH: the script {what} on {count(number, 'target')}, and nobody hears how it ends"
