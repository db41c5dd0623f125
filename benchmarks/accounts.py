"""moto with the sandbox's account in it, and nothing of the sandbox around it."""

import os
from typing import NoReturn

from werkzeug.test import Client

from ssm_deployer.sandbox import launch

CREDENTIAL = "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260101/us-east-1/{}/aws4_request"
FORM = {"Action": "DescribeInstances", "Version": "2016-11-15"}


def start(size: int) -> NoReturn:
    """Import moto, make the account, and have it answer EC2 and S3 once, which is when moto makes itself ready."""
    os.environ.update(launch._environment())  # noqa: SLF001 - what the sandbox's server is started with
    from ssm_deployer.sandbox.account import Account  # noqa: PLC0415 - moto reads its environment when it is imported

    account = Account(("Debian", "12"))
    bucket, _ = account.seed(size, launch.REGION)
    client = Client(account.app)
    client.post("/", data=FORM, headers={"Authorization": CREDENTIAL.format("ec2")})
    client.get(f"/{bucket}/?versions", headers={"Authorization": CREDENTIAL.format("s3")})
    os._exit(0)  # as the sandbox's server does: taking moto down again takes another while
