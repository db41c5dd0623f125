# What has come: its digest, its files.

# digest FILE: set `sum`, empty where nothing can compute it.
digest() {
  for tool in sha256sum shasum openssl busybox python3; do
    ! command -v $tool >/dev/null || break
  done
  case $tool in
  sha256sum) sum=$(sha256sum <"$1") ;;
  shasum) sum=$(shasum -a 256 <"$1") ;;
  openssl) sum=$(openssl dgst -sha256 -r <"$1") ;;
  busybox) sum=$(busybox sha256sum <"$1") ;;
  python3) sum=$(python3 -I -c 'import hashlib,sys;print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())' <"$1") ;;
  esac 2>/dev/null
  sum=${sum%% *}
  [ ${#sum} -eq 64 ] || sum=
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
  rm -f "$work/bundle"
}

# cramped: whether the disk is full, which the tools say in many ways or, on that same disk, not at all.
cramped() {
  head -c 65536 /dev/zero >"$work/room" || return 0
  rm -f "$work/room"
  return 1
} 2>/dev/null
