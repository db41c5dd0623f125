# Where the files go, and what killed payloads left there.

# survey: set `bases`, where files may go, and `lock_roots`, which outlive a reboot unless TMPDIR says otherwise.
survey() {
  bases='/tmp /var/tmp /var/lib /run /root'
  lock_roots='/var/lib /run /var/tmp'
  # A name that needs no quoting anywhere is part of being usable.
  case ${TMPDIR:-} in
  *[!A-Za-z0-9/._,+@:~-]*) ;;
  /*) bases="$TMPDIR $bases" lock_roots="$TMPDIR $lock_roots" ;;
  esac
  pid_space=$(readlink /proc/self/ns/pid 2>/dev/null) || pid_space=none
}

# ours DIR: a world-writable place may hold lookalikes.
ours() { [ -d "$1" ] && [ -O "$1" ] && [ ! -L "$1" ]; }

# sweep: remove the work directories whose payload is no more. The pids of another namespace say nothing here.
sweep() {
  for base in $bases; do
    for old in "$base"/deploy_files_*_*; do
      { ours "$old" && read -r pid was space <"$old/owner"; } || continue
      born "$pid"
      [ "$space" != "$pid_space" ] || [ "$born" = "$was" ] || erase "$old"
    done
  done
}

# settle: make the work directory in the first place where it can be made, filled and executed from.
settle() {
  reasons=
  for base in $bases; do
    occupy "$base" 2>/dev/null && return
    [ -z "$work" ] || rm -rf "$work"
    work=
    reasons="$reasons$base: $reason; "
  done
  refuse no-place "$reasons"
}

# occupy BASE: set `work`, or `reason`.
occupy() {
  reason='no directory'
  [ -d "$1" ] || return
  room=$(df -Pk "$1" | sed -n '2s/.* \([0-9][0-9]*\)  *[0-9-]*[%-] .*/\1/p')
  reason="$room KiB free, $need_kib needed"
  [ "${room:-$need_kib}" -ge "$need_kib" ] || return
  reason='not writable'
  for again in '' _1 _2 _3; do
    # Plain mkdir follows no link and takes over nothing that someone else has put there.
    work=$1/deploy_files_${stamp}_$$$again
    mkdir -m 700 "$work" && break
    work=
  done
  [ -n "$work" ] || return
  reason='no room for even a few bytes'
  born $$
  echo "$$ $born $pid_space" >"$work/owner" || return
  mkdir "$work/files" && echo '#!/bin/sh' >"$work/probe" && chmod 755 "$work/probe" || return
  [ -z "$as" ] || chmod 711 "$work"
  reason='no program in it can be executed'
  # shellcheck disable=SC2086 # a prefix of several words
  $as "$work/probe"
}
