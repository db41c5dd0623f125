# What every part uses: time, the record, refusal, removal.

have() { command -v "$1" >/dev/null 2>&1; }

# more A B: whether A is greater than B, which has nine digits at most. mksh counts in 32 bits.
more() { [ ${#1} -gt 9 ] || [ "$1" -gt "$2" ]; }

# now: set `up`, seconds on a clock that nobody sets: a step of the wall clock must not look like a deadline.
now() {
  read -r up _ </proc/uptime
  up=${up%%.*}
}

# born PID: set `born` to when that process started, in ticks since boot; 0 if it is gone. A pid alone is used again.
born() {
  born=0
  { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 0
  # The name in parentheses may hold anything, further parentheses too.
  # shellcheck disable=SC2086 # numbers, to be split
  set -- ${line##*") "}
  # A zombie whose parent does not care is gone, too.
  case $1 in Z | X) return ;; esac
  shift 19
  born=$1
}

# same PID BORN: whether it is still that process.
same() { born "$1" && [ "$born" = "$2" ]; }

# record: say how it went. The end is counted from the start: whoever sets the clock meanwhile changes no duration.
record() {
  now 2>/dev/null
  printf 'ssm-deploy-result {"format":1,"run":"%s","command":"%s","outcome":"%s","code":%s,"signal":%s,' \
    "$run" "$command" "$outcome" "$code" "$signal"
  printf '"started":%s,"ended":%s,"script_seconds":%s,"stdout_bytes":%s,"stderr_bytes":%s,' \
    "$started" $((started + up - began)) "$script_seconds" "$out_size" "$err_size"
  printf '"stdout_sha256":"%.16s","stderr_sha256":"%.16s","bundle":"%s","resumed":%s,"error":"%s","detail":"%s"}\n' \
    "$out_sum" "$err_sum" "$bundle" "$resumed" "$error" "$detail"
}

# plain TEXT: as one line that JSON takes as it is, and without the query of a URL, which is a bearer token.
plain() {
  printf '%s' "$1" | tr '\n' ' ' | sed 's/?[^ ]*//g' | tr -cd ' !#-[]-~' | cut -c 1-240
}

# refuse WORD DETAIL: the script was not run, or not again after its reboot, and this is why.
refuse() {
  exec 2>&4
  outcome=refused error=$1
  detail=$(plain "$2")
  # What failed because the guard ended it failed for want of time.
  over || error=fetch-timeout detail="not ready after $fetch_timeout s, then $detail"
  code=${codes#*"$error:"}
  code=${code%% *}
  report
  [ "$resumed" -eq 0 ] || rm -f "$lock/out" "$lock/err"
  leave
  echo "ssm-deploy: $error: $detail" >&2
  exit "$code"
}

# leave: let the guard remove the work directory: it goes on should this process be killed meanwhile.
leave() {
  [ -z "$guard" ] || { echo end >&9 && wait "$guard"; } 2>/dev/null
  # Still there: the guard itself was killed, or something is mounted.
  if [ -d "${work:-/dev/null}" ]; then
    # Its timers. Without a number, zsh would take this very group.
    [ -z "$guard" ] || kill -s KILL -- "-$guard" 2>/dev/null
    erase "$work"
    [ ! -d "$work" ] || echo "ssm-deploy: $work is left${points:+: something is mounted there}" >&2
  fi
  work=
}

# mounted DIR: set `points` to what is mounted on it or in it, the latest first, odd characters as \ooo. DIR is a real
# path (see survey): the kernel lists no others.
mounted() {
  points=
  while read -r _ point _; do
    case $point/ in "$1"/*) points="$point $points" ;; esac
  done </proc/mounts
}

# erase DIR: remove what is ours, but never what somebody mounted there, nor what somebody put in its place.
erase() {
  ours "$1" || return 0
  mounted "$1"
  if [ -n "$points" ]; then
    set -f
    for point in $points; do
      # %b wants \0ooo: \0401 it reads as one character, \00401 as a blank and a 1.
      umount -l "$(printf %b "$(printf %s "$point" | sed 's/\\/\\0/g')")"
    done
    set +f
    mounted "$1"
  fi
  [ -z "$points" ] || return
  # The owner last: only by it can a later run tell that what a kill in the middle of this leaves is nobody's.
  gone=$1
  set --
  for item in "$gone"/* "$gone"/.[!.]*; do
    [ "$item" = "$gone/owner" ] || set -- "$@" "$item"
  done
  remove "$@"
  [ -e "$gone/files" ] || remove "$gone"
}

remove() { rm -rf "$@" || { chmod -R u+rwx "$@"; rm -rf "$@"; }; } 2>/dev/null
