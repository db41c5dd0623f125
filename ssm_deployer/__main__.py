"""`python -m ssm_deployer` is `ssm-deploy`."""

from ssm_deployer.cli.main import main

main()
