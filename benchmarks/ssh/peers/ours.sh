#!/bin/sh
# Options of ssh instead of a configuration file, which ours leaves to the user.
exec "$PROGRAM" upload-script "$JOB/job.sh" --files "$JOB/files" -t "file:$INVENTORY" --yes --output json \
  --ssh-key "$KEY" --ssh-connections "$WIDTH" --ssh-option "UserKnownHostsFile=$KNOWN_HOSTS" \
  --ssh-option IdentityAgent=none
