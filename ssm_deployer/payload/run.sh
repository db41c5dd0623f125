# The script itself, and the report.

# become: set `as`, the prefix that makes a command the user's, and `user` and `home`.
become() {
  user=$run_as
  [ -n "$user" ] || user=$(id -un 2>/dev/null) || user=root
  entry=$(getent passwd "$user" 2>/dev/null || grep "^$user:" /etc/passwd)
  home=${entry%:*}
  home=${home##*:}
  [ -n "$home" ] || home=/
  [ -n "$run_as" ] || return 0
  { uid=$(id -u "$user") && gid=$(id -g "$user"); } 2>/dev/null || refuse no-user "$user"
  # All of them stay in the agent's process group, and all but runuser leave no process in between.
  for as in \
    "setpriv --reuid=$uid --regid=$gid --init-groups" \
    "chroot --userspec=$uid:$gid --skip-chdir /" \
    "runuser -u $user --" \
    "setuidgid $user"; do
    # shellcheck disable=SC2086 # a prefix of several words
    ! $as true 2>/dev/null || return 0
  done
  refuse no-user "$user: none of setpriv, chroot, runuser, setuidgid can become it"
}

# identify: set `interpreter`, empty if the kernel can execute the script as it is.
identify() {
  IFS= read -r first <"$work/script"
  interpreter=
  case $first in
  '#!'*)
    set -f
    # shellcheck disable=SC2086 # the kernel splits at blanks, too
    set -- ${first#??}
    set +f
    { [ -x "${1:-}" ] && [ ! -d "$1" ]; } || refuse no-interpreter "${1:-} of the script's first line"
    ;;
  ?ELF*) ;;
  *) interpreter=/bin/sh ;;
  esac
}

# arrange: everything that the script needs to find.
arrange() {
  chmod 700 "$work/script"
  { : >"$work/notice" && : >"$work/out" && : >"$work/err"; } || refuse no-place "$work: full"
  if [ "$resumed" -gt 0 ]; then
    cat "$lock/out" >>"$work/out"
    cat "$lock/err" >>"$work/err"
    rm -f "$lock/out" "$lock/err"
  fi
  [ -z "$as" ] || chown -Rh "$uid:$gid" "$work/files" "$work/script" "$work/out" "$work/err"
  # The script may remove its own directory; what is open stays readable.
  exec 5<>"$work/notice" 6<"$work/out" 7<"$work/err"
  notice=/proc/$$/fd/5 out=/proc/$$/fd/6 err=/proc/$$/fd/7
  [ -e "$out" ] || notice=$work/notice out=$work/out err=$work/err
}

# execute: run the script, in the foreground, since SIGINT and SIGQUIT are ignored in the background. Set `code`.
execute() {
  now
  since=$up
  # shellcheck disable=SC2086 # may be empty
  set -- $interpreter "$work/script"
  # Not in the subshell: a shell that cannot read it must fail as itself, not in the name of the script.
  # shellcheck disable=SC1091 # puts NAME=VALUE words before and arguments after
  [ -z "$inputs_at" ] || . "$work/inputs"
  echo "script $timeout" >&9
  {
    (
      # Redirected inside: mksh does it in the parent, and tells of a killed child meanwhile.
      exec </dev/null >>"$work/out" 2>>"$work/err" 4>&- 5>&- 6>&- 7>&- 9>&-
      cd "$work/files" && umask 022
      unset OLDPWD
      # shellcheck disable=SC2086 # a prefix of several words
      exec $as env "HOME=$home" "USER=$user" "LOGNAME=$user" "DEPLOY_FILES_DIR=$work/files" \
        "SSM_DEPLOY_RUN_ID=$run" "SSM_DEPLOY_RESUMED=$resumed" "$@"
    )
    code=$?
    : # dash and mksh tell of a killed child only now, and after the brace it would be on the agent's stderr
  } 2>&5
  now
  script_seconds=$((up - since))
}

# judge: set `outcome`, `code` and `signal`. `exit 137` and a SIGKILL are both 137 to the shell, but of the second it
# also says something (not of INT and PIPE, which hence read as exit 130 and 141). yash says 384 + N, ksh 256 + N.
judge() {
  outcome=exited
  if [ "$code" -gt 256 ] || { [ "$code" -gt 128 ] && [ "$code" -le 192 ] && { [ -s "$notice" ] || mute; }; }; then
    outcome=signalled signal=$((code % 128))
    code=$((128 + signal))
  fi
  dismiss || outcome=timed-out
}

# mute: whether this shell tells nothing of a killed process, so that only the number is left to judge by.
mute() {
  # shellcheck disable=SC2016 # that shell's own pid
  { (exec sh -c 'kill -9 $$'); set -- $?; } 2>&5
  [ "$1" -lt 256 ] && [ ! -s "$notice" ]
}

report() {
  # shellcheck disable=SC2046 # sizes and names
  set -- $(wc -c "$out" "$err")
  out_size=$1 err_size=$3
  out_sum=$(fingerprint "$out" "$out_size")
  err_sum=$(fingerprint "$err" "$err_size")
  record
  extract "$out" "$out_size" "$stdout_extract"
  extract "$err" "$err_size" "$stderr_extract" >&2
}

fingerprint() {
  [ "$2" -le "$whole_output" ] || return
  digest "$1"
  echo "$sum" | cut -c 1-16
}

# extract FILE SIZE LIMIT: the end of it. The agent would keep the beginning.
extract() {
  [ "$2" -le "$3" ] || echo "[... $(($2 - $3)) bytes left out]"
  [ "$2" -eq 0 ] || tail -c "$3" "$1"
}
