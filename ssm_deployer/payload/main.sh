# The order of things.

main() {
  # 6 and 7 are kept for the script's output: by its being there the guard knows that it has begun.
  exec </dev/null 4>&2 6</dev/null 7</dev/null
  cd / || exit
  umask 077
  # A script may `kill 0`. What is handled here is as it was in whatever is started.
  trap : HUP INT QUIT TERM
  orient
  lock
  become
  # What killed payloads left may be what is in the way. Else the guard removes it, in nobody's way.
  settle || { sweep; settle; } || refuse no-place "$reasons"
  post
  now
  # Later than that by a second, so that it never meets a script that was just started. The sweep may have taken longer.
  echo "prepare $((up > prepare_until ? 0 : prepare_until + 1 - up))" >&9
  # The shell would tell of what the guard ends.
  prepare 2>/dev/null
  execute
  judge
  [ "$outcome$code" != exited194 ] || ask_reboot
  report
  leave
  finish
}

# orient: where and when we are.
orient() {
  for place in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
    case :${PATH:-}: in
    *":$place:"*) ;;
    *) PATH=${PATH:+$PATH:}$place ;;
    esac
  done
  export PATH
  # shellcheck disable=SC2046 # two words
  set -- $(date '+%s %Y%m%d%H%M%S')
  started=$1 stamp=$2
  # They go into the record and into a path.
  command=${SSM_COMMAND_ID:-} instance=${AWS_SSM_INSTANCE_ID:-}
  case $command$instance in *[!0-9A-Za-z-]*) command='' instance='' ;; esac
  work='' guard='' as='' error='' detail='' bundle='' out=/dev/null err=/dev/null
  up=0 began=0 code=0 signal=0 script_seconds=0 resumed=0 out_lost=0 err_lost=0
  # It has the clock, the processes and the open files.
  [ -e /proc/$$/fd/4 ] || refuse setup '/proc is not mounted'
  now
  began=$up prepare_until=$((up + fetch_timeout))
  pid_space=none
  name_space 2>/dev/null 6</proc/self/ns/pid
  survey
}

# name_space: set `pid_space` to the one that the pids here are of, by the number of what is open on 6. Linux before 5.14
# does not tell it there.
name_space() {
  while read -r key number; do
    [ "$key" != ino: ] || pid_space=pid:[$number]
  done </proc/$$/fdinfo/6
  [ "$pid_space" != none ] || pid_space=$(readlink /proc/self/ns/pid)
}

prepare() {
  receive
  if [ "$bundle_size" != 0 ]; then
    unpack
    bundle=$bundle_digest
  fi
  arrange
  now
  # The guard may be about to end all this.
  [ "$up" -lt "$prepare_until" ] || refuse fetch-timeout 'the bundle was unpacked too late'
}

# finish: the script's exit code, but those that the agent takes for something else: 137 reads as a timeout, 168 as
# success, 169 gets text added; and 194 where there shall be no reboot. The record has the true one.
finish() {
  case $outcome in timed-out) code=124 ;; cancelled) code=130 ;; esac
  case $code in 137 | 168 | 169 | 194) code=1 ;; esac
  exit "$code"
}
