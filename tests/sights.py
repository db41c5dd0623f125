"""What a connection to a target has shown, and the verdict on it."""

from fakes import RUN_ID

from ssm_deployer.backends.ssh_verdict import Phase, Sight, verdict
from ssm_deployer.model import Invocation, Target

TARGET = Target(id="ssh:web1:2222", address="web1", port=2222, via="ssh")
LOGGED_IN = 'Authenticated to web1 ([10.0.0.1]:2222) using "publickey".\r\n'
DENIED = """debug1: Authenticating to web1:2222 as 'deploy'
debug1: Offering public key: /home/me/.ssh/id_rsa RSA SHA256:aaaa explicit
debug1: Authentications that can continue: publickey,password
debug1: Offering public key: deploy@laptop ED25519 SHA256:bbbb agent
deploy@web1: Permission denied (publickey,password).
"""


def judged(phase: Phase = "connecting", **seen: object) -> Invocation:
    return verdict(TARGET, "the command", Sight(phase=phase, **seen), RUN_ID)  # type: ignore[arg-type]
