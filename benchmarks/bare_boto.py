"""The least that a program does before its first call to AWS."""

import boto3

boto3.session.Session().client("ec2").describe_instances()
