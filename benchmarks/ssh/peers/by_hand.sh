#!/bin/sh
# by_hand.sh each|once|gzip: tar piped to ssh, WIDTH at a time. The tar is made for each target, or once and fed from a
# file, or once and compressed.
set -eu
export HOW="$1" CONFIG JOB OUT STREAMED STREAMED_GZIP
case $HOW in
  once) tar -cf "$OUT/bundle" -C "$JOB" . ;;
  gzip) tar -I "$COMPRESS" -cf "$OUT/bundle" -C "$JOB" . ;;
esac
# shellcheck disable=SC2016 # the inner shell expands it
xargs -P "$WIDTH" -n 1 sh -c '
  case $HOW in
    each) tar -cf - -C "$JOB" . | ssh -F "$CONFIG" -T -p "$0" 127.0.0.1 "$STREAMED" ;;
    once) ssh -F "$CONFIG" -T -p "$0" 127.0.0.1 "$STREAMED" <"$OUT/bundle" ;;
    gzip) ssh -F "$CONFIG" -T -p "$0" 127.0.0.1 "$STREAMED_GZIP" <"$OUT/bundle" ;;
  esac >"$OUT/$0.out" 2>&1
  code=$?
  echo "$code" >"$OUT/$0.code"
  exit "$code"
' <"$PORTS"
