#!/bin/sh
# pssh's own way to send a file's content to all: -I, its stdin; -i shows what they say.
set -eu
tar -I "$COMPRESS" -cf "$OUT/bundle" -C "$JOB" .
exec parallel-ssh -I -i -t 0 -p "$WIDTH" -h "$HOSTS" -x "-F $CONFIG -T" -e "$OUT/err" -o "$OUT/out" \
  "$STREAMED_GZIP" <"$OUT/bundle"
