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
    [ -d "$root/$shelf" ] || mkdir -m 700 "$root/$shelf" 2>/dev/null
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
