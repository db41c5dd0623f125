"""The orchestration of one run: stage, send, follow, clean, read. It yields events and prints nothing.

The order of things is what keeps a run truthful: the intention to send is told before the request leaves, a target's
status comes only from what a backend saw, and the staged content is removed however the run ends.
"""

from ssm_deployer.runner.contract import Backend, Clock, Stop
from ssm_deployer.runner.deployment import deploy

__all__ = ["Backend", "Clock", "Stop", "deploy"]
