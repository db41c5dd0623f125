# At most once: a directory per run and instance, made by mkdir, which only one process can win.

# lock: set `lock` and `resumed`, or refuse.
lock() {
  name=$shelf/$run-$instance
  for root in $lock_roots; do
    if held "$root"; then
      lock=$root/$name
      resume 2>/dev/null || refuse duplicate "$lock is there"
      return
    fi
  done
  for root in $lock_roots; do
    mkdir -m 700 "$root/$shelf" 2>/dev/null
    ours "$root/$shelf" || continue
    lock=$root/$name
    if mkdir -m 700 "$lock" 2>/dev/null; then
      # What kept this start from one root, or another start from this one, may have passed since.
      for other in $lock_roots; do
        [ "$other" = "$root" ] || ! held "$other" || refuse duplicate "$other/$name is there"
      done
      { echo "$command" >"$lock/command" && extend && forget "${lock%/*}"; } 2>/dev/null
      return
    fi
    [ ! -d "$lock" ] || refuse duplicate "$lock is there"
  done
  refuse no-lock "none of $lock_roots can be written to"
}

held() { [ -d "$1/$name" ] && ours "$1/$shelf"; }

# extend: say until when a duplicate may come, in seconds since boot. The wall clock of a machine without a battery leaps
# by decades; after a reboot, the same number is only further away.
extend() { echo $((up + lock_seconds)) >"$lock/expires"; }

# resume: whether this is the agent's second start of the same command, after the reboot that exit 194 asked for. The
# rename lets only one process have it.
resume() {
  read -r first <"$lock/command" && [ -n "$command" ] && [ "$first" = "$command" ] || return
  mv "$lock/rebooting" "$lock/resumed" || return
  read -r resumed out_size err_size <"$lock/resumed"
  out=$lock/out err=$lock/err
  # shellcheck disable=SC2046 # sizes and names
  set -- $(wc -c "$out" "$err")
  # shellcheck disable=SC2003 # mksh counts in 32 bits
  out_lost=$(expr "$out_size" - "$1") err_lost=$(expr "$err_size" - "$3")
  extend
}

# ask_reboot: keep the end of the output for the second start, and ask the agent for the reboot. But not if that start
# could not tell that it is the second: there would be a third, and so on.
ask_reboot() {
  if keep 2>/dev/null; then
    leave
    exit 194
  fi
  rm -f "$lock/out" "$lock/err"
  detail="exit 194 without a reboot: $lock would not outlive it, or has no room"
}

keep() {
  [ "$lock" = "${lock_roots%% *}/$name" ] && [ -s "$lock/command" ] || return
  measure
  tail -c "$stdout_extract" "$out" >"$lock/out" && tail -c "$stderr_extract" "$err" >"$lock/err" &&
    echo "$((resumed + 1)) $out_size $err_size" >"$lock/next" && mv "$lock/next" "$lock/rebooting"
}

# forget STATE: remove the locks for which no duplicate can come any more.
forget() {
  for old in "$1"/*/; do
    expires=
    read -r expires <"${old}expires"
    # Two days is the longest that an agent lets a command run. Whatever says more was written in an earlier boot, or
    # is none of ours; it gets another four.
    case $expires in '' | *[!0-9]* | ??????????*) expires=$((up + 345601)) ;; esac
    if [ "$expires" -gt $((up + 345600)) ]; then
      echo $((up + 345600)) >"${old}expires"
    elif [ "$expires" -le "$up" ]; then
      rm -rf "$old"
    fi
  done
}
