# Exit 194: the agent reboots the machine and starts the payload again.

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

# begin_output: with what was kept over the reboot.
begin_output() { cat "$out" >"$work/out" && cat "$err" >"$work/err"; }

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
