#!/bin/sh
# -vvv has it print what the hosts say.
set -eu
here=${0%/*}
tar -I "$COMPRESS" -cf "$OUT/bundle" -C "$JOB" .
exec "$BIN/pyinfra" -y -vvv --parallel "$WIDTH" "$here/pyinfra_inventory.py" "$here/pyinfra_deploy.py"
