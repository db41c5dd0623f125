#!/bin/sh
# As the documentation has it for many hosts: pipelining, many forks, the strategy "free" and no facts; an archive by
# `unarchive` instead of files by `copy`. The callback "minimal" prints what each host said, and its exit code.
set -eu
here=${0%/*}
tar -I "$COMPRESS" -cf "$OUT/bundle" -C "$JOB" .
echo "[defaults]" >"$OUT/ansible.cfg" # or it would look for one elsewhere
export ANSIBLE_CONFIG="$OUT/ansible.cfg" ANSIBLE_HOME="$OUT/ansible" ANSIBLE_NOCOLOR=1 ANSIBLE_STDOUT_CALLBACK=minimal
export ANSIBLE_PIPELINING=1 ANSIBLE_STRATEGY=free ANSIBLE_GATHERING=explicit ANSIBLE_DEPRECATION_WARNINGS=0
export ANSIBLE_LOCALHOST_WARNING=0 ANSIBLE_SSH_CONTROL_PATH_DIR="$OUT/cp" ANSIBLE_SSH_COMMON_ARGS="-F $CONFIG"
export ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3
exec "$BIN/ansible-playbook" --forks "$WIDTH" --inventory "$INVENTORY_INI" --extra-vars "bundle=$OUT/bundle" \
  "$here/playbook.yaml"
