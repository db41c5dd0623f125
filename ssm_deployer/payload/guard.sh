# The guard: a process outside the agent's process group, which outlives the agent's SIGKILL, enforces the deadlines and
# cleans up after a payload that was killed. It holds none of the agent's pipes. It blocks on a fifo of which only the
# payload has the other end: words on it start a deadline, its end means that the payload is gone.

# post: start the guard.
post() {
  mkfifo "$work/life" || refuse setup 'mkfifo failed'
  # For reading and writing: opening blocks nobody, and writing never meets a missing reader.
  exec 9<>"$work/life"
  leader=
  ! have setsid || leader=setsid
  # exec: $! must be the guard itself, not a shell that waits for it.
  # shellcheck disable=SC2086 # may be empty
  exec $leader sh "$self" guard "$work" $$ <"$work/life" >/dev/null 2>&1 4>&- 9>&- &
  guard=$!
}

# dismiss: end the guard; fails if a deadline has passed, in which case everything of the script has been stopped.
dismiss() {
  [ -n "$guard" ] || return 0
  echo end >&9
  wait "$guard" 2>/dev/null
  set -- $?
  guard=
  [ "$1" -ne 3 ]
}

guard() {
  work=$1 payload=$2 phase='' late=0
  while read -r word seconds; do
    case $word in
    end) relieve ;;
    late-"$phase")
      late=3
      strike
      ;;
    late-*) ;; # of a phase that ended in time
    *)
      phase=$word
      [ "$phase" != script ] || { while sleep 5; do thin 6 && thin 7; done; } &
      # By way of /proc, since the script may have removed the directory; $$ is the guard here, too.
      { sleep "$seconds" && echo "late-$phase" >/proc/$$/fd/0; } &
      ;;
    esac
  done
  strike
  erase "$work"
  relieve
}

# thin FD: give the disk back what the script wrote long ago, so that endless output does not fill it. The size stays,
# and the end, which is all that is shown. Where fallocate is missing, as on busybox, the output stays whole.
thin() {
  size=$(wc -c <"/proc/$payload/fd/$1") || return
  [ "$size" -le "$whole_output" ] || fallocate -p -o 0 -l $((size - 1048576)) "/proc/$payload/fd/$1"
}

# relieve: end this group: the guard and what it has in the background. TERM is for where that needs telling, as a
# handled signal is missed by a child that was forked a moment ago.
relieve() {
  if have setsid; then
    [ $late -ne 0 ] || kill -s KILL 0
    trap : TERM
    kill -s TERM 0
  fi
  exit $late
}

# strike: TERM for everything of the script, time to obey, then KILL until nothing is left.
# shellcheck disable=SC2086 # $prey is a list
strike() {
  prey
  [ -n "$prey" ] || return
  kill -s TERM $prey
  kill -s CONT $prey
  now
  until=$((up + grace))
  while [ "$up" -lt "$until" ]; do
    doze
    prey
    [ -n "$prey" ] || return
    now
  done
  round=0
  while [ $round -lt 100 ]; do
    # Stopped first, so that nothing forks between two looks.
    kill -s STOP $prey
    prey
    kill -s KILL $prey
    doze
    prey
    [ -n "$prey" ] || return
    round=$((round + 1))
  done
}

doze() { sleep 0.1 || sleep 1; }

# prey: set `prey` to the processes that carry the work directory in their environment, however daemonised, and to all
# descendants of the payload, whatever their environment; but the guard's.
prey() {
  prey=
  # shellcheck disable=SC2013 # names without blanks
  for file in $(grep -lF "DEPLOY_FILES_DIR=$work/" /proc/[0-9]*/environ); do
    file=${file#/proc/}
    prey="$prey ${file%/*}"
  done
  pairs=
  for file in /proc/[0-9]*/stat; do
    read -r line <"$file" || continue
    file=${file#/proc/}
    line=${line##*") "}
    case $line in
    [ZX]*) ;;
    *)
      line=${line#??}
      pairs="$pairs ${file%/*}:${line%% *}"
      ;;
    esac
  done
  tree=" $payload " known=
  while [ "$tree" != "$known" ]; do
    known=$tree
    for pair in $pairs; do
      case $tree in
      *" ${pair%:*} "*) ;;
      *" ${pair#*:} "*) [ "${pair%:*}" = $$ ] || tree="$tree${pair%:*} " ;;
      esac
    done
  done
  prey="$prey ${tree#" $payload "}"
  prey=${prey% }
}
