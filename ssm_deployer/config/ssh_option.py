"""Options for OpenSSH: which of them may be given, and why others may not."""

import re
from typing import ClassVar, Self

_OURS = "it is set already, for connections that carry a script unattended and nothing else"
_HOST_KEYS = "`ssh.host_keys` says how hosts are known, and none may go unchecked"
_REFUSED = {
    # Without the check of the host's key, whoever sits in between gets the script, its arguments and its environment.
    "stricthostkeychecking": _HOST_KEYS,
    "nohostauthenticationforlocalhost": _HOST_KEYS,
    # Each of these asks, detaches, prints, forwards or runs something else where the payload and its record must go
    # through, or is of no effect beside what is set already, which would go unnoticed.
    **dict.fromkeys(
        (
            "batchmode", "clearallforwardings", "connectionattempts", "controlmaster", "controlpath", "controlpersist",
            "dynamicforward", "escapechar", "exitonforwardfailure", "forkafterauthentication", "forwardagent",
            "forwardx11", "forwardx11trusted", "localforward", "loglevel", "logverbose", "remotecommand",
            "remoteforward", "requesttty", "serveralivecountmax", "serveraliveinterval", "sessiontype", "stdinnull",
            "tunnel", "tunneldevice", "updatehostkeys",
        ),
        _OURS,
    ),
    # They run on this machine, once for each target, and may print into what is read.
    "localcommand": "nothing is run on this machine but ssh",
    "permitlocalcommand": "nothing is run on this machine but ssh",
    # All targets would be one machine.
    "hostname": "name the machine as a target: -t ssh:HOST",
    # What has a setting of its own is shown in the plan, which must not be wrong.
    "user": "`aws.username` or --ssh-user says it",
    "port": "`ssh.port` or --ssh-port says it",
    "proxyjump": "`ssh.jump` says it",
    "connecttimeout": "`ssh.connect_timeout` says it",
}  # fmt: skip
_NOWHERE = {"/dev/null", "none"}


class SshOption(str):
    """An option for OpenSSH that breaks nothing of what a run promises."""

    __slots__ = ()
    wanted: ClassVar[str] = "text such as Compression=yes"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a user wrote.

        Raises:
            ValueError: it is no option, or one that cannot be left to the user.
        """
        match = re.fullmatch(r"([A-Za-z][A-Za-z0-9]*)=([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*)", text)
        if match is None:
            raise ValueError(f"{text!r} is no option such as Compression=yes")
        name, value = match[1].lower(), match[2].lower()
        refusal = _REFUSED.get(name)
        if name.endswith("knownhostsfile") and _NOWHERE.intersection(value.replace('"', " ").split()):
            refusal = _HOST_KEYS
        if refusal:
            raise ValueError(f"the option {match[1]} cannot be given: {refusal}")
        return cls(text)
