# The guard: a process outside the agent's process group, which outlives the agent's SIGKILL, enforces the deadlines and
# removes the files, whether the payload asks for it or was killed. It holds none of the agent's pipes. It blocks on a
# fifo of which only the payload has the other end: words on it start and end a deadline, its end means that the payload
# is gone. On a second fifo it says whether a deadline has passed, or a client that can be heard has cancelled.

# post: start the guard.
post() {
  have setsid || refuse setup 'setsid is missing'
  mkfifo "$work/life" "$work/answer" 2>/dev/null || refuse no-place "$work: no room for a fifo"
  # For reading and writing: opening blocks nobody, and writing never meets a missing reader.
  exec 9<>"$work/life" 8<>"$work/answer"
  write_self || refuse no-place "$work: no room for this text"
  # exec: $! must be the guard itself, not a shell that waits for it. 3 and 8 by name: ksh hands no such numbers on.
  exec setsid sh "$self" guard "$work" $$ "$pid_space" <"$work/life" >/dev/null 2>&1 3<&3 4>&- 5<&- 8<>"$work/answer" 9>&- &
  guard=$!
  # For reading only, so that the end of the guard is the end of its answers.
  exec 8<"$work/answer"
}

# over: end the deadline. Set `late` to what the guard did before it: stop everything of the script; else empty.
over() {
  late=
  [ -n "$guard" ] || return 0
  echo over >&9
  read -r late <&8
  [ -z "$late" ]
}

guard() {
  work=$1 payload=$2 pid_space=$3 late=${4:-} phase='' pids=''
  born $$
  mine=$born
  born "$payload"
  its=$born
  # A shell that cannot fork any more ends: the script has taken all processes that there may be.
  trap unforked EXIT
  survey
  (
    exec 8>&-
    [ -n "$late" ] || sweep
  ) &
  sweeper=$!
  while read -r word seconds; do
    case $word in
    end) break ;;
    over)
      phase=over
      echo "$late" >&8
      ;;
    *-"$phase")
      late=${late:-${word%-*}}
      strike
      ;;
    # Of a phase that ended in time.
    *-*) ;;
    *)
      phase=$word
      # First, before the script has taken all processes.
      (
        exec 8>&-
        pace "$seconds"
      ) &
      [ "$phase" != script ] || {
        listen
        echo "ready$late" >&8
      }
      ;;
    esac
  done
  # What a script that has ended left running was meant to stay.
  [ "$word$phase" != "$phase" ] || [ "$phase" = over ] || strike
  erase "$work"
  wait "$sweeper"
  # This group: the guard and what it has in the background.
  kill -s KILL 0
}

# pace SECONDS: tell the guard when the deadline is there. Who waits for the first one stays, to thin the output: so a
# short run needs no process for that.
pace() {
  if [ "$phase" = script ] || [ "$1" -le 5 ]; then
    sleep "$1" && overdue
  else
    sleep 5
    if [ ! -f "/proc/$payload/fd/6" ]; then
      sleep $(($1 - 5)) && overdue &
    fi
  fi
  while [ "$phase" = prepare ] && same "$payload" "$its"; do
    thin 6 && thin 7
    sleep 5
  done
}

# overdue: by way of /proc, since the script may have removed the directory; $$ is the guard here, too.
overdue() { same $$ "$mine" && echo "timed-out-$phase" >/proc/$$/fd/0; }

# thin FD: give the disk back what the script wrote long ago, so that endless output does not fill it. The size stays,
# and the end, which is all that is shown. Where fallocate is missing, as on busybox, the output stays whole.
thin() {
  size=$(wc -c <"/proc/$payload/fd/$1") || return
  # shellcheck disable=SC2003 # mksh counts in 32 bits
  ! more "$size" "$whole_output" || fallocate -p -o 0 -l "$(expr "$size" - 1048576)" "/proc/$payload/fd/$1"
}

# strike: TERM for everything of the script, time to obey, then KILL until nothing is left, but not for ever: the report
# shall come in any case.
# shellcheck disable=SC2086 # $prey is a list
strike() {
  now
  until=$((up + grace))
  tree
  # First by what needs no fork, as there may be none to be had.
  [ -z "$prey" ] || { kill -s TERM $prey; kill -s CONT $prey; }
  prey
  [ -z "$prey" ] || { kill -s TERM $prey; kill -s CONT $prey; }
  while [ -n "$prey" ] && [ "$up" -lt "$until" ]; do
    sleep 0.1 || sleep 1
    prey
    now
  done
  until=$((up + patience))
  while [ -n "$prey" ] && [ "$up" -lt "$until" ]; do
    hunt tree
    hunt prey
    sleep 0.1 || sleep 1
    prey
    now
  done
}

# hunt LOOK: kill what LOOK finds, but stop it first, until there is nothing new, so that nothing forks meanwhile.
# shellcheck disable=SC2086 # $prey is a list
hunt() {
  seen=
  while
    $1
    now
    [ "$prey" != "$seen" ] && [ "$up" -lt "$until" ]
  do
    kill -s STOP $prey
    seen=$prey
  done
  [ -z "$prey" ] || kill -s KILL $prey
}

# unforked: end the script's processes without any help, and start anew.
unforked() {
  now
  until=$((up + patience)) dead=''
  while [ "$up" -lt "$until" ]; do
    hunt tree
    [ -n "$prey" ] || break
    dead="$dead$prey"
  done
  # The dead count, too, until init has collected them.
  for pid in $dead; do
    while [ -e "/proc/$pid" ] && [ "$up" -lt "$until" ]; do now; done
  done
  [ -n "$late" ] || exit
  exec sh "$self" guard "$work" "$payload" "$pid_space" "$late" 8>&8
}

# prey: set `prey` to all that descends from the payload, and all that carries the work directory in its environment,
# however daemonised.
prey() {
  tree
  # shellcheck disable=SC2013 # names without blanks
  for file in $(grep -lF "DEPLOY_FILES_DIR=$work/" /proc/[0-9]*/environ); do
    file=${file#/proc/}
    prey="$prey ${file%/*}"
  done
  prey=${prey# }
}

# tree: set `prey` to all descendants of the payload, whatever their environment, but the guard's; without a fork.
tree() {
  for pid in $pids; do unset "P$pid"; done
  prey='' pids=''
  for file in /proc/[0-9]*/stat; do
    read -r line <"$file" || continue
    pid=${file#/proc/}
    pid=${pid%/*}
    # The name in parentheses may hold anything.
    line=${line##*") "}
    state=${line%% *}
    line=${line#* }
    parent=${line%% *}
    # What `eval` is given is made of digits alone.
    case $parent in '' | *[!0-9]*) continue ;; esac
    eval "P$pid=$parent"
    case $state in [!ZX]) pids="$pids $pid" ;; esac
  done
  for pid in $pids; do
    eval "parent=\$P$pid"
    while [ "$parent" -gt 1 ] && [ "$parent" != "$payload" ] && [ "$parent" != $$ ]; do
      eval "parent=\${P$parent:-0}"
    done
    # So that those after it find it at once.
    eval "P$pid=$parent"
    [ "$parent" != "$payload" ] || [ "$pid" = $$ ] || prey="$prey $pid"
  done
}
