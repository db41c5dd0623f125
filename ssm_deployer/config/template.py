"""The `config.yaml` that `ssm-deploy init` writes."""

EXAMPLE = "`ssm-deploy init example.yaml` writes an example"
TEMPLATE = """\
# ssm-deploy: settings. Every key may be left out; what stands here commented is its default.
# A flag beats the environment (SSM_DEPLOY_STAGING_BUCKET, AWS_REGION, …), which beats this file.

aws:
  # profile: my-profile            # a profile of ~/.aws/config; default: the AWS SDK's own search
  # region: eu-west-1              # where the targets are; default: AWS_REGION, then `regions`
  # username: ubuntu               # \\
  # private_ssh_key_path: ~/.ssh/id_ed25519       #  > for machines that only SSH reaches; default: OpenSSH's own
  # public_ssh_key_path: ~/.ssh/id_ed25519.pub    # /  (the public one chooses a key of your SSH agent)

# regions:                         # where the targets are, if in several regions (--region chooses)
#   - eu-west-1

staging:
  # bucket: my-bucket              # needed: an S3 bucket in the region, or in one of the regions, of the targets
  # prefix: ssm-deploy             # each run has a folder of its own below this, emptied when it ends
  # kms_key: alias/my-key          # default: the bucket's own encryption with S3's keys
  # delivery: presigned            # `role`: the targets read with the role of their own, and no bearer URL exists

# targets:                         # who is meant when the command names nobody
#   - tag:Role=web,worker
#   - i-0123456789abcdef0
#   - ssh:deploy@machine.example.org

timeouts:
  # script: 5m                     # then TERM, a grace, KILL; and still a report
  # upload: 60s                    # for a target to fetch the files
  # delivery: 10m                  # for SSM to reach a target at all

execution:
  # run_as: deploy                 # default: root
  # grace: 10s                     # between TERM and KILL
  # backend: auto                  # SSM, or SSH where SSM cannot; `ssm` and `ssh` leave no choice
  # wave: 0                        # targets at a time, the first of them as canaries; 0: all at once
  # max_failures: null             # how many targets may fail before no further wave is sent; null: any number

# For machines that SSM does not manage. What is left out is what OpenSSH's own settings say.
ssh:
  # port: 22
  # options: [Compression=yes]     # of ssh_config(5), as NAME=VALUE
  # address: public                # or `private`; default: the public one of an instance that has one
  # jump: deploy@bastion.example.org:22           # ProxyJump
  # connections: 64                # at the same time
  # connect_timeout: 15s
  # transfer: stream               # or `scp`
  # host_keys: strict              # only those in known_hosts; `accept-new` trusts an unknown host the first time
  # key: ephemeral                 # EC2 Instance Connect lets in a key that is made for the run
  # tunnel: instance-connect       # or `session-manager`: to instances that no route leads to
  # key_exchange: default          # `fast` leaves out what is slow on many connections
  # sudo: false                    # the script runs as root by way of `sudo -n`
"""
