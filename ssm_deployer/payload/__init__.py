"""The text that a target executes as root, and what goes with it: built by pure functions, sent and run by others."""

from ssm_deployer.payload.compose import build, execution_timeout
from ssm_deployer.payload.content import check_script, inputs
from ssm_deployer.payload.login import greeting, line, listening, login_command
from ssm_deployer.payload.recipe import Recipe, Source
from ssm_deployer.payload.refusals import REFUSALS, Refusal

__all__ = [
    "REFUSALS",
    "Recipe",
    "Refusal",
    "Source",
    "build",
    "check_script",
    "execution_timeout",
    "greeting",
    "inputs",
    "line",
    "listening",
    "login_command",
]
