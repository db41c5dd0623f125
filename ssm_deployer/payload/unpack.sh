# What has come: its digest, its files.

# digest FILE ...: set `sums` to theirs, each with a blank after it; empty where nothing can compute them.
digest() {
  sums='' wanted=$((2 * $#))
  set -f # openssl writes *NAME
  for tool in sha256sum shasum openssl busybox python3; do
    ! command -v $tool >/dev/null || break
  done
  # shellcheck disable=SC2046 # digests and names, none of which has a blank
  case $tool in
  sha256sum) set -- $(sha256sum "$@") ;;
  shasum) set -- $(shasum -a 256 "$@") ;;
  openssl) set -- $(openssl dgst -sha256 -r "$@") ;;
  busybox) set -- $(busybox sha256sum "$@") ;;
  python3) set -- $(python3 -I -c 'import hashlib,sys
for f in sys.argv[1:]:print(hashlib.sha256(open(f,"rb").read()).hexdigest(),f)' "$@") ;;
  esac 2>/dev/null
  set +f
  # Each with a name.
  [ $# -eq "$wanted" ] || return 0
  while [ $# -gt 0 ]; do
    [ ${#1} -ne 64 ] || sums="$sums$1 "
    shift 2
  done
}

# unpack: modes as they were packed, whatever the umask; owned by us, whoever packed it.
unpack() {
  note=$(tar -xzpof "$work/bundle" -C "$work/files" 2>&1)
  set -- $?
  if [ "$1" != 0 ]; then
    note="exit $1 $note"
    ! cramped || refuse no-place "$work: full while unpacking"
    refuse unpack "$note"
  fi
  # The room, not the name: that goes with the rest.
  true >"$work/bundle"
}

# cramped: whether the disk is full, which the tools say in many ways or, on that same disk, not at all: whether 64 KiB cannot
# be written, in four steps, without a process.
cramped() {
  chunk=' ' chunks=0
  while [ ${#chunk} -lt 16384 ]; do chunk=$chunk$chunk; done
  while [ "$chunks" -lt 4 ] && echo "$chunk"; do chunks=$((chunks + 1)); done >"$work/room"
  ! { true >"$work/room" && [ "$chunks" = 4 ]; }
} 2>/dev/null
