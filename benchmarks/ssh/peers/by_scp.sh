#!/bin/sh
# by_scp.sh master|plain: scp an archive that is made once, then ssh, WIDTH at a time; through one connection that a
# master holds (ControlMaster), or by two.
set -eu
export HOW="$1" CONFIG OUT PLACED ARCHIVE
tar -I "$COMPRESS" -cf "$OUT/bundle" -C "$JOB" .
# shellcheck disable=SC2016 # the inner shell expands it
xargs -P "$WIDTH" -n 1 sh -c '
  control=
  if [ "$HOW" = master ]; then
    control="-o ControlPath=$OUT/$0.sock"
    ssh -F "$CONFIG" -f -N -M $control -p "$0" 127.0.0.1 >/dev/null 2>"$OUT/$0.err" || exit
  fi
  { scp -q -F "$CONFIG" $control -P "$0" "$OUT/bundle" "127.0.0.1:$ARCHIVE" &&
    ssh -F "$CONFIG" -T $control -p "$0" 127.0.0.1 "$PLACED"; } >"$OUT/$0.out" 2>&1
  code=$?
  echo "$code" >"$OUT/$0.code"
  [ "$HOW" = plain ] || ssh -F "$CONFIG" -q $control -p "$0" -O exit 127.0.0.1
  exit "$code"
' <"$PORTS"
