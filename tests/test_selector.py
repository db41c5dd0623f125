"""What a user may write to mean a machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssm_deployer.errors import UsageError
from ssm_deployer.selector import ALL, Host, Selector, parse_host, parse_selector


def i(number: int) -> str:
    return f"i-{number:017x}"


def mi(number: int) -> str:
    return f"mi-{number:017x}"


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("all", ALL),
        ("i-0123abcd", Selector("id", ("i-0123abcd",))),
        (i(1), Selector("id", (i(1),))),
        (mi(1), Selector("id", (mi(1),))),
        ("tag:Role=web", Selector("tag", ("web",), "Role")),
        ("tag:Role=web,worker", Selector("tag", ("web", "worker"), "Role")),
        ("tag:Role=,web,", Selector("tag", ("web",), "Role")),
        ("tag:a b=x=y", Selector("tag", ("x=y",), "a b")),
        ("tag:aws:autoscaling:groupName=ü\n", Selector("tag", ("ü\n",), "aws:autoscaling:groupName")),
        ("ssh:web1", Selector("ssh", ("ssh:web1",))),
        ("ssh:deploy@web1:02222", Selector("ssh", ("ssh:deploy@web1:2222",))),
        ("file:machines.txt", Selector("file", ("machines.txt",))),
        ("file:~/some where/ü", Selector("file", ("~/some where/ü",))),
    ],
)
def test_a_target_is_an_id_a_tag_all_a_host_or_a_file(text: str, selector: Selector) -> None:
    assert parse_selector(text) == selector


@pytest.mark.parametrize(
    "text",
    ["", "ALL", "web-1", "i-", "i-123", "i-0123456789ABCDEF0", f"{i(1)}\n", f" {i(1)}", f"{i(1)}0", "mi-0123abcd",
     "tag:", "tag:Role", "tag:Role=", "tag:=web", "tag:Role=,", "tag:Role=,,", "Role=web", "file:", "file:a\0b",
     "SSH:web1", "deploy@web1"],
)  # fmt: skip
def test_anything_else_names_no_target(text: str) -> None:
    with pytest.raises(UsageError, match="names no target") as caught:
        parse_selector(text)
    assert "tag:KEY=VALUE" in caught.value.hint
    assert "ssh:[USER@]HOST[:PORT]" in caught.value.hint


# -- hosts


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("web1", Host("web1")),
        ("Web_1.example.org", Host("Web_1.example.org")),
        ("10.0.0.5", Host("10.0.0.5")),
        ("deploy@10.0.0.5:22", Host("10.0.0.5", "deploy", 22)),
        ("[::1]", Host("::1")),
        ("root@[2001:DB8::0:1]:65535", Host("2001:db8::1", "root", 65535)),
        ("me@example.org@web1", Host("web1", "me@example.org")),
        ("_svc.deploy-2@web1:1", Host("web1", "_svc.deploy-2", 1)),
    ],
)
def test_a_host_is_a_name_or_an_address_perhaps_with_a_user_and_a_port(text: str, host: Host) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize(
    "text",
    ["", "@web1", "web1:", "web1:0", "web1:65536", "web1:ssh", "web1:-1", "web1: 22", "web1:22:22", "web1:٢٢",
     "-oProxyCommand=id", "-web1", "u@-web1", "-u@web1", "a b", "web1\n", "web1;id", "$(id)", "`id`", "web1'",
     "u'@web1", "wéb", "10.0.0", "10.0.0.256", "1", "::1", "[::1", "::1]", "[web1]", "[10.0.0.5]",
     "[fe80::1%eth0]", "[]", "%h", "web1/24", "u ser@web1", "u:pass@web1", ".", "..", ".web1", "w" * 254,
     f"{'u' * 65}@web1"],
)  # fmt: skip
def test_anything_else_is_no_host(text: str) -> None:
    with pytest.raises(UsageError, match="names no host") as caught:
        parse_host(text)
    assert "[USER@]HOST[:PORT]" in caught.value.hint
    with pytest.raises(UsageError, match="names no host"):
        parse_selector(f"ssh:{text}")


def test_what_is_wrong_is_shown_without_what_could_steer_a_terminal() -> None:
    with pytest.raises(UsageError) as caught:
        parse_host("web1\x1b[2J\n")
    assert caught.value.message.isprintable()


@given(st.one_of(st.text(), st.from_regex(r"(\w+@)?(\w+|\[[\d:a-f]+\])(:\d+)?", fullmatch=True)))
def test_what_a_host_is_shown_as_means_the_same_host_and_is_no_option(text: str) -> None:
    try:
        host = parse_host(text)
    except UsageError:
        return
    assert parse_selector(host.selector).values == (host.selector,)
    assert parse_host(host.selector.removeprefix("ssh:")) == host
    assert not any(word.startswith("-") for word in (host.address, host.user))
    assert host.selector.isascii()
