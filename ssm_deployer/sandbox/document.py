"""The documents that can be sent, what SendCommand says about their parameters, and what the agent makes of them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

EXECUTION_TIMEOUT = 3600
_EXECUTION_TIMEOUT_PATTERN = re.compile(
    r"([1-9][0-9]{0,4})|(1[0-6][0-9]{4})|(17[0-1][0-9]{4})|(172[0-7][0-9]{3})|(172800)"
)
_PARAMETER_STORE = re.compile(r"\{\{ *ssm:([a-zA-Z0-9_.\-/:]+) *\}\}")
_NAME = re.compile(r"(?:arn:aws[a-z-]*:ssm:[a-z0-9-]*:[0-9]*:document/)?(?P<name>[a-zA-Z0-9_.-]+)")

Parameters = Mapping[str, Sequence[str]]
ParameterStore = Callable[[str], str | None]
"""Gives the value of a plain parameter by name, None if there is none."""


class DocumentFailed(Exception):
    """The agent cannot make sense of the document: no step runs, and there is no output."""


@dataclass(frozen=True)
class Document:
    """One of AWS's documents: where its only step runs, and its parameters by name, True where a list is meant."""

    name: str
    platform: str
    step: str
    parameters: Mapping[str, bool]


_PARAMETERS = {"commands": True, "workingDirectory": False, "executionTimeout": False}
DOCUMENTS = {
    document.name: document
    for document in (
        Document("AWS-RunShellScript", "Linux", "aws:runShellScript", _PARAMETERS),
        Document("AWS-RunPowerShellScript", "Windows", "aws:runPowerShellScript", _PARAMETERS),
    )
}


def find(name: str) -> Document | None:
    """Return the document of that name or ARN."""
    match = _NAME.fullmatch(name)
    return DOCUMENTS.get(match["name"]) if match else None


def complaint(document: Document, parameters: Parameters) -> str:
    """Return why the service refuses these parameters, empty if it does not."""
    unknown = sorted(parameters.keys() - document.parameters.keys())
    if unknown:
        return f"Invalid parameters: {', '.join(unknown)} are not defined in the document {document.name}."
    if "commands" not in parameters:
        return f"Missing parameter: commands is required by the document {document.name}."
    scalars = [name for name, values in parameters.items() if not document.parameters[name] and len(values) != 1]
    return f"Invalid parameters: {', '.join(sorted(scalars))} must be one string." if scalars else ""


def execution_timeout(parameters: Parameters) -> int | None:
    """Return how long the script may run, in seconds, None where the document fails on it.

    The document's pattern is not anchored, and the agent makes 3,600 of what is no number or out of 5..172,800.
    """
    text = next(iter(parameters.get("executionTimeout", (str(EXECUTION_TIMEOUT),))))
    if not _EXECUTION_TIMEOUT_PATTERN.search(text):
        return None
    seconds = int(text) if text.isascii() and text.isdigit() else 0
    return seconds if 5 <= seconds <= 172_800 else EXECUTION_TIMEOUT  # noqa: PLR2004  # the document's own bounds


def resolve(text: str, store: ParameterStore) -> str:
    """Put Parameter Store values where `text` names them, in comments too.

    Raises DocumentFailed for a name that the store does not know.
    """

    def value(match: re.Match[str]) -> str:
        found = store(match[1])
        if found is None:
            raise DocumentFailed(f"Parameter {match[1]} does not exist")
        return found

    return _PARAMETER_STORE.sub(value, text)
