# The script itself, and the report.

# become: set `as`, the prefix that makes a command the user's, and `user` and `home`.
become() {
  itself 2>/dev/null
  home=$own_home
  [ -n "$run_as" ] || return 0
  user=$run_as
  home=$(home_of "$user")
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
  refuse no-user "$user: $(own_name) cannot become it by setpriv, chroot, runuser or setuidgid"
}

own_name() { id -un 2>/dev/null || echo root; }

home_of() {
  entry=$(getent passwd "$1" 2>/dev/null || grep "^$1:" /etc/passwd)
  entry=${entry%:*}
  entry=${entry##*:}
  echo "${entry:-/}"
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
  # Where the script runs as another user, that one may enter the directory, and knows the names.
  { [ -z "$as" ] && [ -x "$work/script" ]; } || chmod 700 "$work/script" "$work/inputs"
  # Not `:`, whose failure to redirect would be the end of this shell.
  { true >"$work/notice" && begin_output; } || refuse no-place "$work: full"
  [ "$resumed" -eq 0 ] || rm -f "$out" "$err"
  [ -z "$as" ] || chown -Rh "$uid:$gid" "$work/files" "$work/script" "$work/out" "$work/err"
  # The script may remove its own directory; what is open stays readable.
  exec 5<>"$work/notice" 6<"$work/out" 7<"$work/err"
  notice=/proc/$$/fd/5 out=/proc/$$/fd/6 err=/proc/$$/fd/7
}

# execute: run the script, in the foreground, since SIGINT and SIGQUIT are ignored in the background. Set `code`.
execute() {
  now
  since=$up
  # shellcheck disable=SC2086 # may be empty
  set -- $interpreter "$work/script"
  # Not in the subshell: a shell that cannot read it must fail as itself, not in the name of the script.
  if [ "$inputs_size" != 0 ]; then
    INPUTS=
    # shellcheck disable=SC1091 # puts NAME=VALUE words before and arguments after, and sets INPUTS when all was read
    . "$work/inputs"
    [ "$INPUTS" = read ] || refuse setup 'this shell cannot read arguments that are no text'
  fi
  echo "script $timeout" >&9
  # Its timer must stand before the script may take all processes, and no script goes without. A signal may end a read.
  word=
  read -r word <&8 || read -r word <&8
  [ "$word" = ready ] || refuse setup 'the guard is gone'
  {
    (
      # Redirected inside: mksh does it in the parent, and tells of a killed child meanwhile.
      exec </dev/null >>"$work/out" 2>>"$work/err" 3<&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
      cd "$work/files" && umask 022
      unset OLDPWD
      # shellcheck disable=SC2086 # a prefix of several words
      exec $as env "HOME=$home" "USER=$user" "LOGNAME=$user" "DEPLOY_FILES_DIR=$work/files" \
        "SSM_DEPLOY_RUN_ID=$run" "SSM_DEPLOY_RESUMED=$resumed" "$@"
    )
    code=$?
    # dash and mksh tell of a killed child only now, and after the brace it would be on the agent's stderr.
    :
  } 2>&5
  now
  script_seconds=$((up - since))
}

# judge: set `outcome`, `code` and `signal`. `exit 137` and a SIGKILL are both 137 to the shell, but of the second it
# also says something (not of INT and PIPE, which hence read as exit 130 and 141). yash says 384 + N, ksh 256 + N.
judge() {
  outcome=exited
  # First: the script may have left nothing to fork with.
  over
  if [ "$code" -gt 256 ] || { [ "$code" -gt 128 ] && [ "$code" -le 192 ] && { [ -s "$notice" ] || mute; }; }; then
    outcome=signalled signal=$((code % 128))
    code=$((128 + signal))
  fi
  outcome=${late:-$outcome}
  # Whoever wrote to a full disk had no room to say so.
  ! ours "$work" || ! cramped || detail='the disk is full, so some of the output may be missing'
}

# mute: whether this shell tells nothing of a killed process, so that only the number is left to judge by.
mute() {
  # shellcheck disable=SC2016 # that shell's own pid
  { (exec sh -c 'kill -9 $$'); set -- $?; } 2>&5
  [ "$1" -lt 256 ] && [ ! -s "$notice" ]
}

# measure: set the sizes of all that was written, also of what was not kept over a reboot.
measure() {
  out_size=0 err_size=0
  [ -s "$out" ] || [ -s "$err" ] || [ "$resumed" -gt 0 ] || return 0
  # shellcheck disable=SC2046 # sizes and names
  set -- $(wc -c "$out" "$err")
  out_size=$1 err_size=$3
  # shellcheck disable=SC2003 # mksh counts in 32 bits
  [ "$resumed" -eq 0 ] || out_size=$(expr "$1" + "$out_lost") err_size=$(expr "$3" + "$err_lost")
}

report() {
  measure
  set --
  ! hashed "$out_size" "$out_lost" || set -- "$out"
  ! hashed "$err_size" "$err_lost" || set -- "$@" "$err"
  [ $# -eq 0 ] || digest "$@"
  fingerprint "$out_size" "$out_lost"
  out_sum=$sum
  fingerprint "$err_size" "$err_lost"
  err_sum=$sum
  record
  extract "$out" "$out_size" "$stdout_extract"
  extract "$err" "$err_size" "$stderr_extract" >&2
}

# hashed SIZE LOST: whether it is worth it, and all there.
hashed() { [ "$1" != 0 ] && [ "$2" = 0 ] && ! more "$1" "$whole_output"; }

# fingerprint SIZE LOST: set `sum` to that of the next of `sums`, or of nothing, or to nothing.
fingerprint() {
  sum=
  if [ "$1" = 0 ]; then
    sum=e3b0c44298fc1c14
  elif hashed "$1" "$2"; then
    sum=${sums%% *} sums=${sums#* }
  fi
}

# extract FILE SIZE LIMIT: the end of it. The agent would keep the beginning.
extract() {
  # shellcheck disable=SC2003 # mksh counts in 32 bits
  ! more "$2" "$3" || echo "[... $(expr "$2" - "$3") bytes left out]"
  [ "$2" = 0 ] || tail -c "$3" "$1"
}
