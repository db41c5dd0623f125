#!/bin/sh
# Fails on one machine of several, to show what ssm-deploy makes of it: exit 1, and that machine's stderr first.
#
#   ssm-deploy upload-script examples/failing_example.sh --no-files -- i-0123456789abcdef0
#
# It fails on the machines whose ids are given (`ssm-deploy targets` shows them), and on every machine if none is.
set -u

instance=${AWS_SSM_INSTANCE_ID:-$(uname -n)}
echo "step 1 of 3: look at $instance"
echo 'step 2 of 3: stop the old version'
for id in "${@:-$instance}"; do
  if [ "$id" = "$instance" ]; then
    echo 'the old version does not stop: /run/example.pid names a process that belongs to somebody else' >&2
    echo 'nothing was changed' >&2
    exit 3
  fi
done
echo 'step 3 of 3: start the new version'
echo 'done'
