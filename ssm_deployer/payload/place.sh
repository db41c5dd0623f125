# Where the files go, and what killed payloads left there.

# survey: set `bases`, where files may go, and `lock_roots`. Their first is the agent's own: if a reboot empties it, the
# agent has forgotten the command as well.
survey() {
  bases='/tmp /var/tmp /var/lib /run /root'
  lock_roots='/var/lib /run /var/tmp'
  # For targets that share their /var/lib, as a sandbox's plain directories do. No use for TMPDIR here: another start
  # may have another one.
  lock_roots=${SSM_DEPLOY_STATE_DIR:-$lock_roots}
  unset SSM_DEPLOY_STATE_DIR
  # A name that needs no quoting anywhere is part of being usable.
  case ${TMPDIR:-} in
  *[!A-Za-z0-9/._,+@:~-]*) ;;
  /*) bases="$TMPDIR $bases" ;;
  esac
  # shellcheck disable=SC2086 # names without blanks
  set -- $bases
  bases=
  for base in "$@"; do
    # The real one: what is mounted there is known by it.
    ! cd -P "$base" 2>/dev/null || base=$PWD
    case $base in
    / | *[!A-Za-z0-9/._,+@:~-]*) ;;
    *) bases="$bases $base" ;;
    esac
  done
  cd / || exit
}

# ours DIR: a world-writable place may hold lookalikes.
ours() { [ -d "$1" ] && [ -O "$1" ] && [ ! -L "$1" ]; }

# sweep: remove the work directories whose payload is no more. The pids of another namespace say nothing here.
sweep() {
  for base in $bases; do
    for old in "$base"/deploy_files_*_*; do
      ours "$old" || continue
      if read -r pid was space <"$old/owner"; then
        [ "$space" != "$pid_space" ] || same "$pid" "$was" || erase "$old"
      else
        # Of a payload that was killed before it could write the owner, or after it had removed all: nothing is in it.
        [ -s "$old/owner" ] || rm -f "$old/owner"
        rmdir "$old"
      fi
    done
  done
} 2>/dev/null

# settle: make the work directory in the first place where it can be made, filled and executed from.
settle() {
  reasons=
  for base in $bases; do
    occupy "$base" 2>/dev/null && return
    [ -z "$work" ] || rm -rf "$work"
    work=
    reasons="$reasons$base: $reason; "
  done
  return 1
}

# occupy BASE: set `work`, or `reason`.
occupy() {
  reason='no directory'
  [ -d "$1" ] || return
  room=$(df -Pk "$1" | sed -n '2s/.* \([0-9][0-9]*\)  *[0-9-]*[%-] .*/\1/p')
  reason="$room KiB free, $need_kib needed"
  more "${room:-$need_kib}" $((need_kib - 1)) || return
  reason='not writable'
  for again in '' _1 _2 _3; do
    # Plain mkdir follows no link and takes over nothing that someone else has put there.
    work=$1/deploy_files_${stamp}_$$$again
    mkdir -m 700 "$work" && break
    work=
  done
  [ -n "$work" ] || return
  reason='files there are not ours'
  ours "$work" || return
  reason='no room for even a few bytes'
  born $$
  echo "$$ $born $pid_space" >"$work/owner" || return
  mkdir "$work/files" && true >"$work/note" && echo '#!/bin/sh' >"$work/probe" && chmod 755 "$work/probe" || return
  [ -z "$as" ] || chmod 711 "$work"
  reason='no program in it can be executed'
  # shellcheck disable=SC2086 # a prefix of several words
  $as "$work/probe"
}
