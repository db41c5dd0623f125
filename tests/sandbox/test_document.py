import pytest

from ssm_deployer.sandbox import document
from ssm_deployer.sandbox.document import DocumentFailed

SHELL = document.DOCUMENTS["AWS-RunShellScript"]


@pytest.mark.parametrize(
    "name",
    ["AWS-RunShellScript", "arn:aws:ssm:us-east-1::document/AWS-RunShellScript"],
)
def test_a_document_is_found_by_name_and_arn(name: str) -> None:
    assert document.find(name) is SHELL


@pytest.mark.parametrize("name", ["AWS-RunShellscript", "AWS-RunAnsiblePlaybook", "x/AWS-RunShellScript"])
def test_other_documents_do_not_exist(name: str) -> None:
    assert document.find(name) is None


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({}, "commands"),
        ({"Commands": ["x"]}, "Commands"),
        ({"commands": ["x"], "timeout": ["5"]}, "timeout"),
        ({"commands": ["x"], "workingDirectory": ["/a", "/b"]}, "workingDirectory"),
    ],
)
def test_the_service_refuses_parameters_that_the_document_does_not_have(
    parameters: dict[str, list[str]], word: str
) -> None:
    assert word in document.complaint(SHELL, parameters)


def test_the_service_takes_what_the_document_has() -> None:
    parameters = {"commands": ["a", "b"], "workingDirectory": ["/"], "executionTimeout": ["7"]}
    assert document.complaint(SHELL, parameters) == ""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, 3600),
        ("5", 5),
        ("172800", 172_800),
        ("4", 3600),
        ("172801", 3600),
        ("999999999", 3600),
        ("60s", 3600),
        ("0", None),
        ("soon", None),
        ("", None),
        ("٣", None),
    ],
)
def test_an_execution_timeout_out_of_range_is_an_hour_and_nonsense_fails(text: str | None, seconds: int | None) -> None:
    assert document.execution_timeout({} if text is None else {"executionTimeout": [text]}) == seconds


def test_parameter_store_names_are_resolved_wherever_they_stand() -> None:
    assert (
        document.resolve("# {{ssm:/a}} {{ ssm:b:2 }} {{x}}", lambda name: {"/a": "1", "b:2": "2"}[name])
        == "# 1 2 {{x}}"
    )


def test_an_unknown_parameter_store_name_fails_the_document() -> None:
    with pytest.raises(DocumentFailed):
        document.resolve("# {{ssm:no}}", lambda _: None)
