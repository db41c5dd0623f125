#!/bin/sh
# Uses the files that came along: reads a setting, counts rows, guards the secrets, installs the configuration.
#
#   ssm-deploy upload-script examples/deploy_with_files_example.sh --files files
#   ssm-deploy upload-script examples/deploy_with_files_example.sh --files files -- /srv/example one 'two words'
#
# The configuration goes to the first argument if that is an absolute path, else to ~/ssm-deploy-example.
# Everything in $DEPLOY_FILES_DIR is removed when this ends; what is to stay must be copied out of it, as here.
set -eu
: "${DEPLOY_FILES_DIR:?is set by ssm-deploy}"

fail() {
  echo "error: $1" >&2
  exit 1
}

# setting NAME: its value in app.config, which has lines NAME=VALUE.
setting() { sed -n "s/^$1 *= *//p" "$DEPLOY_FILES_DIR/app.config"; }

# mode FILE: rwx as `ls` writes it, since `stat` differs from system to system.
mode() {
  # shellcheck disable=SC2012 # one file of a known name
  ls -ld "$1" | cut -c 1-10
}

need() { [ -r "$DEPLOY_FILES_DIR/$1" ] || fail "$1 did not come along; run it with: --files files"; }

echo "run        ${SSM_DEPLOY_RUN_ID:-unknown}"
echo "machine    ${AWS_SSM_INSTANCE_ID:-$(uname -n)}"
echo "arguments  $#"
for argument in "$@"; do
  echo "           <$argument>"
done

echo "files      $DEPLOY_FILES_DIR"
# shellcheck disable=SC2012 # to be looked at, not to be read by a program
ls -lA "$DEPLOY_FILES_DIR" | sed 's/^/           /'
need app.config
need deployment_data.csv
need credentials.json

echo "setting    $(setting application) listens on port $(setting port)"
# Without the header; awk also counts a last line that has no newline.
echo "data       $(awk 'NR > 1 && NF { rows++ } END { print rows + 0 }' "$DEPLOY_FILES_DIR/deployment_data.csv") rows"

# Modes travel as they are, but a file that passed through git is 644 whatever it was: secrets are narrowed here, before
# anything is done with them. Nobody but this user could enter the directory until now.
came=$(mode "$DEPLOY_FILES_DIR/credentials.json")
chmod 600 "$DEPLOY_FILES_DIR/credentials.json"
[ "$(mode "$DEPLOY_FILES_DIR/credentials.json")" = '-rw-------' ] || fail 'credentials.json cannot be made private'
echo "secrets    $(wc -c <"$DEPLOY_FILES_DIR/credentials.json" | tr -d ' ') bytes, came as $came, now private"

case ${1:-} in
/*) place=$1 ;;
*) place=$HOME/ssm-deploy-example ;;
esac
mkdir -p "$place"
# Whoever reads the old file goes on reading all of it: the new one takes its place in one step.
cp "$DEPLOY_FILES_DIR/app.config" "$place/app.config.new"
chmod 644 "$place/app.config.new"
mv "$place/app.config.new" "$place/app.config"
echo "installed  $place/app.config"
