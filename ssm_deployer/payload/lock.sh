# At most once: a directory per run and instance, made by mkdir, which only one process can win.

# lock: set `lock` and `resumed`, or refuse.
lock() {
  name=$run-$instance
  for root in $lock_roots; do
    lock=$root/ssm-deploy/$name
    if [ -d "$lock" ] && ours "$root/ssm-deploy"; then
      resume 2>/dev/null || refuse duplicate "$lock is there"
      return
    fi
  done
  for root in $lock_roots; do
    mkdir -m 700 "$root/ssm-deploy" 2>/dev/null
    ours "$root/ssm-deploy" || continue
    lock=$root/ssm-deploy/$name
    if mkdir -m 700 "$lock" 2>/dev/null; then
      echo "$command" >"$lock/command"
      echo $((started + lock_seconds)) >"$lock/expires"
      forget "$root/ssm-deploy" 2>/dev/null
      return
    fi
    [ ! -d "$lock" ] || refuse duplicate "$lock is there"
  done
  refuse no-lock "none of $lock_roots can be written to"
}

# resume: whether this is the agent's second start of the same command, after the reboot that exit 194 asked for. The
# rename lets only one process have it.
resume() {
  read -r first <"$lock/command" || return
  [ -n "$command" ] && [ "$first" = "$command" ] && mv "$lock/rebooting" "$lock/resumed" || return
  read -r resumed <"$lock/resumed"
  echo $((started + lock_seconds)) >"$lock/expires"
}

# ask_reboot: keep the output so far for the second start, and ask the agent for the reboot.
ask_reboot() {
  cat "$out" >"$lock/out"
  cat "$err" >"$lock/err"
  echo $((resumed + 1)) >"$lock/rebooting"
  leave
  exit 194
}

# forget STATE: remove the locks for which no duplicate can come any more.
forget() {
  for old in "$1"/*/; do
    if read -r expires <"${old}expires"; then
      [ "$expires" -gt "$started" ] || rm -rf "$old"
    else
      # Killed before it could say until when; two days is the longest that an agent lets a command run.
      echo $((started + 345600)) >"${old}expires"
    fi
  done
}
