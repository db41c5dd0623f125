# What every part uses: time, the record, refusal, removal.

have() { command -v "$1" >/dev/null 2>&1; }

# now: set `up`, seconds on a clock that nobody sets: a step of the wall clock must not look like a deadline.
now() {
  { read -r up _ </proc/uptime; } 2>/dev/null || up=$(date +%s)
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

record() {
  ended=$(date +%s)
  printf 'ssm-deploy-result {"format":1,"run":"%s","command":"%s","outcome":"%s","code":%s,"signal":%s' \
    "$run" "$command" "$outcome" "$code" "$signal"
  printf ',"started":%s,"ended":%s,"script_seconds":%s,"stdout_bytes":%s,"stderr_bytes":%s' \
    "$started" "$ended" "$script_seconds" "$out_size" "$err_size"
  printf ',"stdout_sha256":"%s","stderr_sha256":"%s","bundle":"%s","resumed":%s,"error":"%s","detail":"%s"}\n' \
    "$out_sum" "$err_sum" "$bundle" "$resumed" "$error" "$detail"
}

# plain TEXT: as one line that JSON takes as it is, and without the query of a URL, which is a bearer token.
plain() {
  printf '%s' "$1" | tr '\n' ' ' | sed 's/?[^ ]*//g' | tr -cd ' !#-[]-~' | cut -c 1-240
}

# refuse WORD DETAIL: the script was not run, and this is why.
refuse() {
  exec 2>&4
  outcome=refused error=$1
  detail=$(plain "$2")
  # What failed because the guard ended it failed for want of time.
  dismiss || error=fetch-timeout detail="not ready after $fetch_timeout s; then $detail"
  leave
  code=${codes#*"$error:"}
  code=${code%% *}
  record
  echo "ssm-deploy: $error: $detail" >&2
  exit "$code"
}

# leave: end the guard and remove the work directory.
leave() {
  dismiss
  [ -z "$work" ] || erase "$work"
  work=
}

# erase DIR: remove what is ours, but never what somebody mounted into it.
erase() {
  if grep -qF " $1/" /proc/mounts 2>/dev/null; then
    # Latest first; a name's odd characters are written in octal.
    sed -n "s|^[^ ]* \\($1/[^ ]*\\) .*|\\1|p" /proc/mounts | sort -r | while read -r point; do
      umount -l "$(printf '%b' "$point")"
    done
    if grep -qF " $1/" /proc/mounts; then
      echo "ssm-deploy: something is mounted in $1, so it is left in place" >&2
      return
    fi
  fi
  rm -rf "$1" 2>/dev/null || { chmod -R u+rwx "$1"; rm -rf "$1"; }
}
