#!/bin/sh
# by_clush.sh stdin|copy: clush's two ways, its stdin to all, or --copy (scp) and then the command. -S has it tell by
# its exit code that one has failed.
set -eu
tar -I "$COMPRESS" -cf "$OUT/bundle" -C "$JOB" .
run() { clush -S -L -f "$WIDTH" -w "t[1-$NUMBER]" -o "-F $NAMES -T" "$@"; }
if [ "$1" = stdin ]; then
  run "$STREAMED_GZIP" <"$OUT/bundle"
else
  clush -S -f "$WIDTH" -w "t[1-$NUMBER]" -O scp_options="-F $NAMES" --copy "$OUT/bundle" --dest "$ARCHIVE"
  run -n "$PLACED"
fi
