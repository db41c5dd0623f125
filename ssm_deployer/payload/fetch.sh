# Download, verification, unpacking.

# fetch NAME LOCATION SIZE SHA256: have $work/NAME, trying again while that may help.
fetch() {
  pause=1 said=
  while :; do
    now
    seconds=$((prepare_until - up))
    [ "$seconds" -gt 0 ] || refuse fetch-timeout "$1: not here after $fetch_timeout s${said:+, last $said}"
    http=000 said=
    get "$2" "$work/$1"
    tool=$?
    if [ $tool -eq 0 ]; then
      digest "$work/$1"
      [ "$sum" != "$4" ] || return 0
      [ -n "$sum" ] || refuse no-digest-tool 'none of sha256sum, shasum, openssl, busybox, python3'
      have=$(wc -c <"$work/$1")
      # All of the bytes, but not the right ones: that does not mend itself.
      [ "$have" != "$3" ] || refuse digest "$1: $sum instead of $4"
      said="$have of $3 bytes"
    fi
    ! cramped || refuse no-place "$work: full while fetching the $1"
    case $tool in 126 | 127 | 132 | 139)
      # It cannot be executed, lacks a library, or crashes.
      broken="$broken, $fetcher is broken"
      choose_fetcher
      continue
      ;;
    esac
    [ -n "$said" ] || said=$(plain "$(tail -n 1 "$work/note")")
    from=${2#*://}
    from=${from%%[/?]*}
    case $http in
    408 | 429) ;;
    [34]??) refuse download "$1: HTTP $http from $from${said:+: $said}" ;;
    5??) said="HTTP $http" ;;
    esac
    [ "$pause" -le 8 ] || refuse download "$1: $said from $from"
    sleep "$pause"
    pause=$((pause * 2))
  done
}

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
  if ! note=$(tar -xzpof "$work/bundle" -C "$work/files" 2>&1); then
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

usable() {
  case $broken in *" $1 is broken"*) return 1 ;; esac
  have "$1"
}
