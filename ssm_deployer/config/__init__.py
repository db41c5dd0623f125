"""Settings: `config.yaml`, the environment and the flags, in rising order, as one validated value.

The file's own keys are the fields of `Settings` and its parts; the commented text that `ssm-deploy init` writes is
`TEMPLATE`, which a test reads back. An unknown key or a wrong type is an error that names path and line.
"""

from ssm_deployer.config.load import ENVIRONMENT, FLAGS, absent, load
from ssm_deployer.config.settings import Settings, Ssh, StagingSettings
from ssm_deployer.config.template import TEMPLATE

__all__ = ["ENVIRONMENT", "FLAGS", "TEMPLATE", "Settings", "Ssh", "StagingSettings", "absent", "load"]
