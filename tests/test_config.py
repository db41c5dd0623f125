"""Settings from file, environment and flags; and what is said where one of them is wrong."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ssm_deployer.config import ENVIRONMENT, FLAGS, TEMPLATE, Settings, Ssh, load
from ssm_deployer.config.ssh_option import SshOption
from ssm_deployer.config.values import Connections, ConnectSeconds, DeliverySeconds, Jump, Number, Port, Seconds
from ssm_deployer.errors import UsageError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def read(
    file: Path, text: str | bytes, environment: Mapping[str, str] | None = None, **flags: Any
) -> Settings:  # fmt: skip
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(file, environment or {}, {f"--{name.replace('_', '-')}": value for name, value in flags.items()})


def complaint(file: Path, text: str | bytes, environment: Mapping[str, str] | None = None, **flags: Any) -> str:
    """The error's two lines, without the folder."""
    with pytest.raises(UsageError) as caught:
        read(file, text, environment, **flags)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return f"{caught.value.message}\n{caught.value.hint}".replace(f"{file.parent}/", "")


# -- what is read

WHOLE = """\
aws:
  username: ubuntu
  private_ssh_key_path: ~/.ssh/id
  public_ssh_key_path: ~/.ssh/id.pub
  profile: work
  region: eu-west-1
regions:
  - us-west-2
  - eu-west-1: {image: auto, node_count: 2}
staging: {bucket: b, prefix: p, kms_key: alias/k, delivery: role}
targets: [all, "tag:A=b"]
timeouts: {script: 5m, upload: 90, delivery: 2h}
execution: {run_as: deploy, grace: 1s, backend: ssh, wave: 10, max_failures: 0}
ssh:
  port: 2222
  options: [Compression=yes, "ProxyCommand=nc %h %p"]
  address: private
  jump: deploy@bastion:022,[::1]
  connections: 1000
  connect_timeout: 5s
  transfer: scp
  host_keys: accept-new
  key: ephemeral
  tunnel: instance-connect
  key_exchange: fast
  sudo: true
"""


def test_every_key_of_a_file_is_read(file: Path) -> None:
    settings = read(file, WHOLE)
    assert (settings.aws.username, settings.aws.profile, settings.aws.region) == ("ubuntu", "work", "eu-west-1")
    assert settings.region_names == ("us-west-2", "eu-west-1")
    assert (settings.staging.bucket, settings.staging.delivery) == ("b", "role")
    assert settings.targets == ("all", "tag:A=b")
    assert (settings.timeouts.script, settings.timeouts.upload, settings.timeouts.delivery) == (300, 90, 7200)
    execution = settings.execution
    assert (execution.run_as, execution.grace, execution.backend) == ("deploy", 1, "ssh")
    assert (execution.wave, execution.max_failures) == (10, 0)
    assert settings.ssh == Ssh(
        port=Port(2222), options=(SshOption("Compression=yes"), SshOption("ProxyCommand=nc %h %p")),
        address="private", jump=Jump("deploy@bastion:22,[::1]"), connections=Connections(1000),
        connect_timeout=ConnectSeconds(5), transfer="scp", host_keys="accept-new", key="ephemeral",
        tunnel="instance-connect", key_exchange="fast", sudo=True,
    )  # fmt: skip


def test_paths_of_keys_may_begin_at_home(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    aws = read(file, WHOLE, {"SSM_DEPLOY_AWS_PUBLIC_SSH_KEY_PATH": "~/other"}).aws
    assert (aws.private_ssh_key_path, aws.public_ssh_key_path) == ("/home/me/.ssh/id", "/home/me/other")
    assert read(file, WHOLE, ssh_key="~/mine").aws.private_ssh_key_path == "/home/me/mine"


@pytest.mark.parametrize("text", ["", "# nothing set\n", "null\n", "---\n", "aws:\nstaging:\n  # bucket: x\n", "{}\n"])
def test_a_file_that_sets_nothing_is_the_defaults(file: Path, text: str) -> None:
    assert read(file, text) == Settings()


@pytest.mark.parametrize("text", ["\ufeffaws: {region: x}", "aws:\r\n  region: x\r\n"])
def test_files_of_other_editors_are_read(file: Path, text: str) -> None:
    assert read(file, text).aws.region == "x"


def test_the_template_sets_nothing_and_names_only_keys_that_exist(file: Path) -> None:
    assert read(file, TEMPLATE) == Settings()
    lines = [line.replace("# ", "", 1) if ":" in line or "- " in line else "" for line in TEMPLATE.splitlines()[3:]]
    uncommented = read(file, "\n".join(lines))
    for section in ("timeouts", "execution", "ssh"):
        for field in getattr(Settings(), section).__struct_fields__:
            assert f"{field}: " in TEMPLATE
    assert uncommented.timeouts == Settings().timeouts
    assert replace(uncommented.execution, run_as="") == Settings().execution
    examples = {"port": 0, "options": (), "address": "", "jump": "", "key": "", "tunnel": ""}
    assert all(getattr(uncommented.ssh, name) for name in examples)
    assert replace(uncommented.ssh, **examples) == Settings().ssh
    assert uncommented.staging.prefix == Settings().staging.prefix
    assert uncommented.targets == ("tag:Role=web,worker", "i-0123456789abcdef0", "ssh:deploy@machine.example.org")


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None, {}, {}) == Settings()


def test_config_yaml_of_the_folder_is_taken_where_none_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("staging: {bucket: here}\n")
    monkeypatch.chdir(file.parent)
    assert load(None, {}, {}).staging.bucket == "here"


# -- who beats whom


def test_flags_beat_the_environment_which_beats_the_file(file: Path) -> None:
    text = "timeouts: {script: 1m, upload: 1m, delivery: 1m}\n"
    environment = {"SSM_DEPLOY_TIMEOUTS_SCRIPT": "2m", "SSM_DEPLOY_TIMEOUTS_UPLOAD": "2m"}
    timeouts = read(file, text, environment, timeout="3m", upload_timeout=None).timeouts
    assert (timeouts.script, timeouts.upload, timeouts.delivery) == (180, 120, 60)


def test_our_own_names_in_the_environment_beat_those_of_the_aws_sdk() -> None:
    names = {"AWS_DEFAULT_REGION": "a", "AWS_REGION": "b", "SSM_DEPLOY_AWS_REGION": "c"}
    for expected in ("c", "b", "a"):
        assert load(None, names, {}).aws.region == expected
        names.popitem()


@pytest.mark.parametrize("name", ["AWS_PROFILE", "AWS_ACCESS_KEY_ID"])
def test_an_identity_in_the_environment_beats_the_profile_of_the_file_and_is_left_to_the_sdk(
    file: Path, name: str
) -> None:
    assert read(file, "aws: {profile: work}\n", {name: "example"}).aws.profile == ""
    assert read(file, "aws: {profile: work}\n", {name: "example"}, profile="play").aws.profile == "play"


def test_a_prefix_loses_its_outer_slashes(file: Path) -> None:
    assert read(file, "staging: {prefix: /team/ssm-deploy/}\n").staging.prefix == "team/ssm-deploy"


def test_an_empty_variable_is_none(file: Path) -> None:
    assert read(file, "aws: {region: x}", {"AWS_REGION": ""}).aws.region == "x"


def test_every_setting_of_a_section_has_a_variable() -> None:
    for name, value in (("STAGING_KMS_KEY", "k"), ("EXECUTION_RUN_AS", "u"), ("AWS_PRIVATE_SSH_KEY_PATH", "p")):
        assert f"SSM_DEPLOY_{name}" in ENVIRONMENT
        assert value in str(load(None, {f"SSM_DEPLOY_{name}": value}, {}))


@pytest.mark.parametrize(
    ("word", "sudo"), [("true", True), ("Yes", True), ("1", True), ("on", True), ("false", False), ("0", False)]
)
def test_yes_and_no_are_words_in_the_environment(file: Path, word: str, sudo: bool) -> None:
    assert read(file, f"ssh: {{sudo: {not sudo}}}\n", {"SSM_DEPLOY_SSH_SUDO": word}).ssh.sudo is sudo


def test_a_list_is_words_in_the_environment() -> None:
    options = load(None, {"SSM_DEPLOY_SSH_OPTIONS": "Compression=yes  AddressFamily=inet"}, {}).ssh.options
    assert options == ("Compression=yes", "AddressFamily=inet")


FLAG_VALUES: dict[str, tuple[Any, Any]] = {
    "--backend": ("ssh", "ssh"),
    "--wave": ("5", 5),
    "--max-failures": ("0", 0),
    "--ssh-user": ("ubuntu", "ubuntu"),
    "--ssh-key": ("/k", "/k"),
    "--ssh-port": ("2222", 2222),
    "--ssh-option": (("Compression=yes",), ("Compression=yes",)),
    "--ssh-connections": ("7", 7),
    "--sudo": (True, True),
}


@pytest.mark.parametrize("flag", FLAG_VALUES)
def test_each_flag_of_ssh_and_of_waves_sets_its_key(flag: str) -> None:
    given_, expected = FLAG_VALUES[flag]
    section, _, field = FLAGS[flag].partition(".")
    assert getattr(getattr(load(None, {}, {flag: given_}), section), field) == expected


@pytest.mark.parametrize("nothing", [None, False, (), ""])
def test_flags_that_are_not_given_leave_the_file_alone(file: Path, nothing: Any) -> None:
    flags = dict.fromkeys(("sudo", "ssh_option", "ssh_port", "max_failures"), nothing)
    assert read(file, WHOLE, {}, **flags) == read(file, WHOLE)


def test_a_key_that_is_a_flag_beats_an_ephemeral_one_of_the_file(file: Path) -> None:
    assert read(file, WHOLE, ssh_key="/k").ssh.key == ""


def test_a_flag_does_not_hide_a_section_of_the_wrong_type(file: Path) -> None:
    assert "line 1: `staging`: expected keys with values" in complaint(file, "staging: my-bucket\n", bucket="other")


def test_a_flag_fills_a_section_that_stands_there_empty(file: Path) -> None:
    assert read(file, "staging:\n", bucket="b").staging.bucket == "b"


# -- what is wrong, and where

MISTAKES: dict[str, tuple[str | bytes, str]] = {
    "an unknown section": ("aws: {}\nagw: 1\n", "config.yaml line 2: `agw` is no setting\nknown there: aws, regions"),
    "an unknown key": ("staging:\n  buckt: x\n", "line 2: `staging.buckt` is no setting\nknown there: bucket, prefix"),
    "a number for a name": ("staging:\n  bucket: 12\n", "line 2: `staging.bucket`: expected text, got a whole number"),
    "a date for a name": ("staging:\n  bucket: 2026-01-01\n", "line 2: `staging.bucket`: expected text, got a date"),
    "nothing for a name": ("staging:\n  bucket:\n", "line 2: `staging.bucket`: expected text, got nothing"),
    "a word that is none of two": (
        "staging:\n\n  delivery: post\n",
        "line 3: `staging.delivery`: 'post' is none of presigned, role",
    ),
    "a text for a list": ("targets: i-1\n", "line 1: `targets`: expected a list, got text"),
    "a number in a list": ("targets:\n  - all\n  - 5\n", "line 3: `targets[1]`: expected text such as tag:Role=web"),
    "a list for a section": ("aws:\n  - a\n", "line 1: `aws`: expected keys with values, got a list"),
    "no target": ("targets:\n  - all\n  - web-1\n", "line 3: `targets[1]`: `web-1` names no target"),
    "a number for a region": (
        "regions: [1]\n",
        "`regions[0]`: expected text or keys with values, got a whole",
    ),
    "an unknown section with nothing in it": ("target:\n# - all\n", "line 1: `target` is no setting"),
    "a prefix that leads elsewhere": ("staging: {prefix: a/../b}\n", "`staging.prefix`: 'a/../b' has `.` or `..`"),
    "no time span": ("timeouts:\n  script: soon\n", "line 2: `timeouts.script`: 'soon' is no time span"),
    "a fraction": ("timeouts: {script: 1.5}\n", "`timeouts.script`: expected a time span"),
    "yes for a time span": ("timeouts: {script: yes}\n", "`timeouts.script`: true is no time span"),
    "no time at all": ("timeouts: {script: 0}\n", "`timeouts.script`: 0 is not between 1 and 172800 seconds"),
    "longer than the agent allows": ("timeouts: {script: 3d}\n", "'3d' is not between 1 and 172800 seconds"),
    "shorter than SSM allows": ("timeouts: {delivery: 29}\n", "`timeouts.delivery`: 29 is not between 30 and 2592000"),
    "no port": ("ssh:\n  port: 65536\n", "line 2: `ssh.port`: 65536 is not between 1 and 65535"),
    "port 0": ("ssh: {port: 0}\n", "`ssh.port`: 0 is not between 1 and 65535"),
    "a word for a port": ("ssh: {port: ssh}\n", "`ssh.port`: 'ssh' is no whole number"),
    "yes for a port": ("ssh: {port: yes}\n", "`ssh.port`: true is no whole number"),
    "a list for a port": ("ssh: {port: [22]}\n", "`ssh.port`: expected a whole number, got a list"),
    "a fraction of a wave": ("execution: {wave: 1.5}\n", "`execution.wave`: expected a whole number, got a fraction"),
    "fewer failures than none": ("execution: {max_failures: -1}\n", "-1 is not between 0 and 1000000"),
    "too many connections": ("ssh: {connections: 1001}\n", "`ssh.connections`: 1001 is not between 1 and 1000"),
    "a backend of another kind": (
        "execution: {backend: rsh}\n",
        "`execution.backend`: 'rsh' is none of auto, ssm,",
    ),
    "no address": ("ssh: {address: any}\n", "`ssh.address`: 'any' is none of public, private"),
    "host keys that go unchecked": ("ssh: {host_keys: no}\n", "`ssh.host_keys`: expected text, got yes or no"),
    "a jump over no host": ("ssh: {jump: 'a,-b'}\n", "`ssh.jump`: '-b' names no host"),
    "a word for a yes": ("ssh: {sudo: sometimes}\n", "`ssh.sudo`: expected yes or no, got text"),
    "an unknown key of ssh": ("ssh:\n  prt: 1\n", "line 2: `ssh.prt` is no setting\nknown there: port, options"),
    "an option for an option": ("ssh:\n  options:\n  - A=b\n  - -v\n", "line 4: `ssh.options[1]`: '-v' is no option"),
    "no file for a target": ("targets: ['file:']\n", "line 1: `targets[0]`: `file:` names no target"),
    "a user who is an option": ("aws: {username: -l}\n", "`aws.username`: '-l' is no name of a user"),
    "a home that nobody has": ("aws: {private_ssh_key_path: ~nobody-here/x}\n", "`aws.private_ssh_key_path`: '~nobody"),
    "a key twice": ("aws: {}\nstaging: {}\naws: {}\n", "line 3: `aws` stands twice"),
    "a key twice in a section": ("aws:\n  region: a\n  region: b\n", "line 3: `aws.region` stands twice"),
    "a number as key": ("aws:\n  1: 2\n", "line 2: a key must be text"),
    "a yes as key": ("yes: 2\n", "line 1: a key must be text"),
    "a list as key": ("? [a]\n: b\n", "line 1: a key must be text"),
    "no keys": ("hello\n", "line 1: expected keys such as `aws:`"),
    "a list of all": ("- aws\n", "line 1: expected keys such as `aws:`"),
    "broken nesting": ("aws:\n  region: x: y\n", "line 2: no valid YAML"),
    "a tab": ("aws:\n\tregion: x\n", "line 2: no valid YAML"),
    "two documents": ("aws: {}\n---\naws: {}\n", "no valid YAML"),
    "an object of Python": ("aws: {region: !!python/name:os.system x}\n", "no valid YAML"),
    "an alias of nothing": ("aws: *x\n", "no valid YAML"),
    "an alias of itself": ("regions: &a [*a]\n", "cannot read config.yaml"),
    "nesting without end": ("[" * 600, "cannot read config.yaml"),
    "a control character": ("aws: {region: \x07}\n", "cannot read config.yaml"),
    "another encoding": ("aws: {region: ü}".encode("latin-1"), "config.yaml: it is no text in UTF-8\nsave it as"),
    "bytes": (b"\xff\xfe\x00", "cannot read config.yaml: it is no text in UTF-8"),
    "nothing for a time span": ("timeouts: {script: }\n", "expected a time span such as 90s, 5m or 2h, got nothing"),
    "a user of two words": ("execution: {run_as: no such}\n", "`execution.run_as`: 'no such' is no name of a user"),
}


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: case.replace(" ", "-"))
def test_a_mistake_in_the_file_is_told_with_its_place_and_a_remedy(file: Path, case: str) -> None:
    text, words = MISTAKES[case]
    assert words in complaint(file, text)


def test_the_remedy_for_a_mistake_leads_somewhere(file: Path) -> None:
    example = "\n`ssm-deploy init example.yaml` writes an example"
    for text in ("aws: 1\n", "hello\n", "aws: *x\n"):
        assert complaint(file, text).endswith(example)
    assert complaint(file, "", {"SSM_DEPLOY_SSH_PORT": "x"}).endswith(example)
    assert complaint(file, "", wave="x").endswith("\n`ssm-deploy help upload-script` describes it")


def test_a_mistake_in_the_environment_names_the_variable() -> None:
    with pytest.raises(UsageError, match=r"^SSM_DEPLOY_TIMEOUTS_SCRIPT: `timeouts.script`: 'x' is no"):
        load(None, {"SSM_DEPLOY_TIMEOUTS_SCRIPT": "x"}, {})


@pytest.mark.parametrize("flag", ["--wave", "--max-failures", "--ssh-port", "--ssh-connections"])
def test_a_number_that_is_none_names_its_flag(flag: str) -> None:
    with pytest.raises(UsageError, match=rf"^{flag}: `{FLAGS[flag]}`: 'x' is no whole number$"):
        load(None, {}, {flag: "x"})


def test_a_mistake_in_a_flag_names_the_flag_and_not_the_file_it_beats(file: Path) -> None:
    assert complaint(file, "timeouts: {script: 5m}\n", timeout="x").startswith("--timeout: ")


def test_a_merged_key_may_be_overridden(file: Path) -> None:
    settings = read(file, "regions:\n  - a: &common {image: x, n: 1}\n  - b: {<<: *common, n: 2}\n")
    assert settings.regions == ({"a": {"image": "x", "n": 1}}, {"b": {"image": "x", "n": 2}})


@pytest.mark.parametrize("name", ["missing.yaml", "", "config.yaml/inside"])
def test_a_named_file_that_cannot_be_read_is_an_error(file: Path, name: str) -> None:
    file.write_text("aws: {}\n")
    with pytest.raises(UsageError, match="cannot read") as caught:
        load(file.parent / name, {}, {})
    assert "--config" in caught.value.hint


# -- options of OpenSSH


@pytest.mark.parametrize(
    "text",
    ["Compression=yes", "Ciphers=+aes128-cbc,aes256-cbc", "ProxyCommand=ssh -W %h:%p gate", "IdentitiesOnly=yes",
     "UserKnownHostsFile=~/.ssh/fleet /etc/none", "HostKeyAlias=fleet", "A=b=c"],
)  # fmt: skip
def test_an_option_is_taken_as_it_is(text: str) -> None:
    assert SshOption.parse(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "=", "A", "A=", "A= ", "=b", "-oA=b", "A b=c", "A b", "A=b\n", "A=b\nStrictHostKeyChecking=no", "A=\0",
     "A =b", "Ä=b"],
)  # fmt: skip
def test_anything_but_name_and_value_is_no_option(text: str) -> None:
    with pytest.raises(ValueError, match="is no option such as"):
        SshOption.parse(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("StrictHostKeyChecking=no", "ssh.host_keys"),
        ("stricthostkeychecking=off", "ssh.host_keys"),
        ("UserKnownHostsFile=/dev/null", "ssh.host_keys"),
        ('GlobalKnownHostsFile="/dev/null"', "ssh.host_keys"),
        ("UserKnownHostsFile=~/.ssh/known_hosts None", "ssh.host_keys"),
        ("NoHostAuthenticationForLocalhost=yes", "ssh.host_keys"),
        ("BatchMode=no", "unattended"),
        ("ControlPath=none", "unattended"),
        ("ControlMaster=auto", "unattended"),
        ("RequestTTY=force", "unattended"),
        ("RemoteCommand=true", "unattended"),
        ("LogLevel=DEBUG", "unattended"),
        ("ServerAliveInterval=10", "unattended"),
        ("ForwardAgent=yes", "unattended"),
        ("LocalForward=80 web1:80", "unattended"),
        ("PermitLocalCommand=yes", "on this machine"),
        ("LocalCommand=id", "on this machine"),
        ("HostName=web1", "-t ssh:HOST"),
        ("User=root", "--ssh-user"),
        ("Port=22", "--ssh-port"),
        ("ProxyJump=gate", "ssh.jump"),
        ("ConnectTimeout=0", "ssh.connect_timeout"),
    ],
)
def test_an_option_that_would_break_what_a_run_promises_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^the option {text.partition('=')[0]} cannot be given: .*{why}"):
        SshOption.parse(text)


def test_a_refused_option_names_the_flag() -> None:
    with pytest.raises(UsageError, match=r"^--ssh-option: `ssh.options\[0\]`: the option BatchMode cannot be given"):
        load(None, {}, {"--ssh-option": ("BatchMode=no",)})


# -- the regions of a run


def test_a_run_is_for_the_region_that_is_set_or_else_for_all_that_are_listed(file: Path) -> None:
    assert read(file, "aws: {region: a}\nregions: [b, c]\n").run_regions == ("a",)
    assert read(file, "regions: [b, c, b]\n").run_regions == ("b", "c")
    assert read(file, "regions: [{b: {image: auto}}]\n").run_regions == ("b",)
    assert read(file, "regions: [b, c]\n", {"AWS_REGION": "d"}).run_regions == ("d",)
    assert Settings().run_regions == ()


def test_regions_that_are_flags_beat_every_other_word_on_it(file: Path) -> None:
    text, environment = "aws: {region: a}\nregions: [b]\n", {"AWS_REGION": "c", "SSM_DEPLOY_AWS_REGION": "d"}
    assert read(file, text, environment, region=("x", "y")).run_regions == ("x", "y")


# -- time spans


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), (90, 90), ("90s", 90), ("5m", 300), ("2h", 7200), ("1d", 86400), (" 5m ", 300)]
)
def test_a_time_span_is_a_number_with_a_unit(text: str | int, seconds: int) -> None:
    assert Seconds.parse(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "5 m", "-5", "1.5h", "5min", "0x10", "1e3", "9" * 5000, True, "5m\n5m"])
def test_anything_else_is_no_time_span(text: str) -> None:
    with pytest.raises(ValueError, match="is no time span"):
        Seconds.parse(text)


@given(st.one_of(st.text(), st.integers()), st.sampled_from([Seconds, DeliverySeconds, Number, Port]))
def test_whatever_is_written_is_within_bounds_or_refused(text: str | int, kind: type[Seconds | Number]) -> None:
    try:
        span = kind.parse(text)
    except ValueError:
        return
    assert type(span) is kind
    assert kind.least <= span <= kind.most
