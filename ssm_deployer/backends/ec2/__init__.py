"""What EC2 has to offer to whoever connects to its instances by SSH."""

from ssm_deployer.backends.ec2.access import Ec2Access, access

__all__ = ["Ec2Access", "access"]
