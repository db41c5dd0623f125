#!/bin/sh
# ssm-deploy payload, run 20261124-abc
set -u
A='https://bucket-name.s3.eu-west-1.amazonaws.com/prefix/20261124-abc/'
B='X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAEXAMPLE%2F20261124%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date=20261124T101112Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature=0000000000000000000000000000000000000000000000000000000000000000'
script_at=$A'script?'$B''
inputs_at=$A'inputs?'$B''
bundle_at=$A'bundle?'$B''
run='20261124-abc'
timeout='300'
fetch_timeout='60'
grace='10'
shelf='ssm-deploy'
lock_seconds='7600'
patience='15'
need_kib='5910'
whole_output='268435456'
stdout_extract='20000'
stderr_extract='7000'
codes='no-fetch-tool:70 download:71 fetch-timeout:72 digest:73 no-digest-tool:74 no-place:75 unpack:76 duplicate:77 no-user:78 no-interpreter:79 no-lock:80 setup:82'
run_as='deploy'
bundle_digest='abababababababababababababababababababababababababababababababab'
script_sum='abababababababababababababababababababababababababababababababab'
script_size='1234'
inputs_sum='abababababababababababababababababababababababababababababababab'
inputs_size='1234'
bundle_sum='abababababababababababababababababababababababababababababababab'
bundle_size='1234'
# What every part uses: time, the record, refusal, removal.

have() { command -v "$1" >/dev/null 2>&1; }

# more A B: whether A is greater than B, which has nine digits at most. mksh counts in 32 bits.
more() { [ ${#1} -gt 9 ] || [ "$1" -gt "$2" ]; }

# now: set `up`, seconds on a clock that nobody sets: a step of the wall clock must not look like a deadline.
now() {
  read -r up _ </proc/uptime
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

# same PID BORN: whether it is still that process.
same() { born "$1" && [ "$born" = "$2" ]; }

# record: say how it went. The end is counted from the start: whoever sets the clock meanwhile changes no duration.
record() {
  now 2>/dev/null
  printf 'ssm-deploy-result {"format":1,"run":"%s","command":"%s","outcome":"%s","code":%s,"signal":%s,' \
    "$run" "$command" "$outcome" "$code" "$signal"
  printf '"started":%s,"ended":%s,"script_seconds":%s,"stdout_bytes":%s,"stderr_bytes":%s,' \
    "$started" $((started + up - began)) "$script_seconds" "$out_size" "$err_size"
  printf '"stdout_sha256":"%.16s","stderr_sha256":"%.16s","bundle":"%s","resumed":%s,"error":"%s","detail":"%s"}\n' \
    "$out_sum" "$err_sum" "$bundle" "$resumed" "$error" "$detail"
}

# plain TEXT: as one line that JSON takes as it is, and without the query of a URL, which is a bearer token.
plain() {
  printf '%s' "$1" | tr '\n' ' ' | sed 's/?[^ ]*//g' | tr -cd ' !#-[]-~' | cut -c 1-240
}

# refuse WORD DETAIL: the script was not run, or not again after its reboot, and this is why.
refuse() {
  exec 2>&4
  outcome=refused error=$1
  detail=$(plain "$2")
  # What failed because the guard ended it failed for want of time.
  over || error=fetch-timeout detail="not ready after $fetch_timeout s, then $detail"
  code=${codes#*"$error:"}
  code=${code%% *}
  report
  [ "$resumed" -eq 0 ] || rm -f "$lock/out" "$lock/err"
  leave
  echo "ssm-deploy: $error: $detail" >&2
  exit "$code"
}

# leave: let the guard remove the work directory: it goes on should this process be killed meanwhile.
leave() {
  [ -z "$guard" ] || { echo end >&9 && wait "$guard"; } 2>/dev/null
  # Still there: the guard itself was killed, or something is mounted.
  if [ -d "${work:-/dev/null}" ]; then
    # Its timers. Without a number, zsh would take this very group.
    [ -z "$guard" ] || kill -s KILL -- "-$guard" 2>/dev/null
    erase "$work"
    [ ! -d "$work" ] || echo "ssm-deploy: $work is left${points:+: something is mounted there}" >&2
  fi
  work=
}

# mounted DIR: set `points` to what is mounted on it or in it, the latest first, odd characters as \ooo. DIR is a real
# path (see survey): the kernel lists no others.
mounted() {
  points=
  while read -r _ point _; do
    case $point/ in "$1"/*) points="$point $points" ;; esac
  done </proc/mounts
}

# erase DIR: remove what is ours, but never what somebody mounted there, nor what somebody put in its place.
erase() {
  ours "$1" || return 0
  mounted "$1"
  if [ -n "$points" ]; then
    set -f
    for point in $points; do
      # %b wants \0ooo: \0401 it reads as one character, \00401 as a blank and a 1.
      umount -l "$(printf %b "$(printf %s "$point" | sed 's/\\/\\0/g')")"
    done
    set +f
    mounted "$1"
  fi
  [ -z "$points" ] || return
  # The owner last: only by it can a later run tell that what a kill in the middle of this leaves is nobody's.
  gone=$1
  set --
  for item in "$gone"/* "$gone"/.[!.]*; do
    [ "$item" = "$gone/owner" ] || set -- "$@" "$item"
  done
  remove "$@"
  [ -e "$gone/files" ] || remove "$gone"
}

remove() { rm -rf "$@" || { chmod -R u+rwx "$@"; rm -rf "$@"; }; } 2>/dev/null

# Where the files go, and what killed payloads left there.

# survey: set `bases`, where files may go, and `lock_roots`. Their first is the agent's own: if a reboot empties it, the
# agent has forgotten the command as well.
survey() {
  bases='/tmp /var/tmp /var/lib /run /root'
  lock_roots='/var/lib /run /var/tmp'
  # For targets that share their /var/lib, as a sandbox's plain directories do. No use for TMPDIR here: another start
  # may have another one.
  lock_roots=${SSM_DEPLOY_STATE_DIR:-$lock_roots}
  unset SSM_DEPLOY_STATE_DIR
  # A name that needs no quoting anywhere is part of being usable.
  case ${TMPDIR:-} in
  *[!A-Za-z0-9/._,+@:~-]*) ;;
  /*) bases="$TMPDIR $bases" ;;
  esac
  # shellcheck disable=SC2086 # names without blanks
  set -- $bases
  bases=
  for base in "$@"; do
    # The real one: what is mounted there is known by it.
    ! cd -P "$base" 2>/dev/null || base=$PWD
    case $base in
    / | *[!A-Za-z0-9/._,+@:~-]*) ;;
    *) bases="$bases $base" ;;
    esac
  done
  cd / || exit
}

# ours DIR: a world-writable place may hold lookalikes.
ours() { [ -d "$1" ] && [ -O "$1" ] && [ ! -L "$1" ]; }

# sweep: remove the work directories whose payload is no more. The pids of another namespace say nothing here.
sweep() {
  for base in $bases; do
    for old in "$base"/deploy_files_*_*; do
      ours "$old" || continue
      if read -r pid was space <"$old/owner"; then
        [ "$space" != "$pid_space" ] || same "$pid" "$was" || erase "$old"
      else
        # Of a payload that was killed before it could write the owner, or after it had removed all: nothing is in it.
        [ -s "$old/owner" ] || rm -f "$old/owner"
        rmdir "$old"
      fi
    done
  done
} 2>/dev/null

# settle: make the work directory in the first place where it can be made, filled and executed from.
settle() {
  reasons=
  for base in $bases; do
    occupy "$base" 2>/dev/null && return
    [ -z "$work" ] || rm -rf "$work"
    work=
    reasons="$reasons$base: $reason; "
  done
  return 1
}

# occupy BASE: set `work`, or `reason`.
occupy() {
  reason='no directory'
  [ -d "$1" ] || return
  room=$(df -Pk "$1" | sed -n '2s/.* \([0-9][0-9]*\)  *[0-9-]*[%-] .*/\1/p')
  reason="$room KiB free, $need_kib needed"
  more "${room:-$need_kib}" $((need_kib - 1)) || return
  reason='not writable'
  for again in '' _1 _2 _3; do
    # Plain mkdir follows no link and takes over nothing that someone else has put there.
    work=$1/deploy_files_${stamp}_$$$again
    mkdir -m 700 "$work" && break
    work=
  done
  [ -n "$work" ] || return
  reason='files there are not ours'
  ours "$work" || return
  reason='no room for even a few bytes'
  born $$
  echo "$$ $born $pid_space" >"$work/owner" || return
  mkdir "$work/files" && true >"$work/note" && echo '#!/bin/sh' >"$work/probe" && chmod 755 "$work/probe" || return
  [ -z "$as" ] || chmod 711 "$work"
  reason='no program in it can be executed'
  # shellcheck disable=SC2086 # a prefix of several words
  $as "$work/probe"
}

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

# Download and verification.

# The agent keeps this text in a file, and a cancel of its is a signal.
write_self() { :; }
listen() { :; }

# What stdin.sh reads for itself, to be quick, programs are asked for here, since this text has to be small.
itself() { user=$(own_name); own_home=$(home_of "$user"); }

receive() {
  broken=
  choose_fetcher
  fetch script "$script_at" "$script_size" "$script_sum"
  identify
  [ -z "$inputs_at" ] || fetch inputs "$inputs_at" "$inputs_size" "$inputs_sum"
  [ -z "$bundle_at" ] || fetch bundle "$bundle_at" "$bundle_size" "$bundle_sum"
}

# fetch NAME LOCATION SIZE SHA256: have $work/NAME, trying again while that may help.
fetch() {
  pause=1 said=
  while :; do
    now
    seconds=$((prepare_until - up))
    [ "$seconds" -gt 0 ] || refuse fetch-timeout "$1: not here after $fetch_timeout s${said:+, last $said}"
    http=000 said=
    get "$2" "$work/$1"
    tool=$?
    if [ $tool -eq 0 ]; then
      digest "$work/$1"
      sum=${sums% }
      [ "$sum" != "$4" ] || return 0
      [ -n "$sum" ] || refuse no-digest-tool 'none of sha256sum, shasum, openssl, busybox, python3'
      have=$(wc -c <"$work/$1")
      # All of the bytes, but not the right ones: that does not mend itself.
      [ "$have" != "$3" ] || refuse digest "$1: $sum instead of $4"
      said="$have of $3 bytes"
    fi
    ! cramped || refuse no-place "$work: full while fetching the $1"
    case $tool in 126 | 127 | 132 | 139)
      # It cannot be executed, lacks a library, or crashes.
      broken="$broken, $fetcher is broken"
      choose_fetcher
      continue
      ;;
    esac
    [ -n "$said" ] || said=$(plain "$(tail -n 1 "$work/note")")
    from=${2#*://}
    from=${from%%[/?]*}
    case $http in
    408 | 429) ;;
    [34]??) refuse download "$1: HTTP $http from $from${said:+: $said}" ;;
    5??) said="HTTP $http" ;;
    esac
    [ "$pause" -le 8 ] || refuse download "$1: $said from $from"
    sleep "$pause"
    pause=$((pause * 2))
  done
}

usable() {
  case $broken in *" $1 is broken"*) return 1 ;; esac
  have "$1"
}

# Presigned URLs. They reach the tools by stdin, since anyone on the machine may read an argument list.

choose_fetcher() {
  small_wget=wget
  if usable curl; then
    fetcher=curl
  elif usable wget; then
    # Only GNU's knows --version; the other takes no URL from stdin.
    fetcher=wget how=by_small_wget
    ! wget --version >/dev/null 2>&1 || how=by_wget
  elif usable python3; then
    fetcher=python3
  elif usable busybox; then
    fetcher=busybox how=by_small_wget small_wget='busybox wget'
  else
    refuse no-fetch-tool "none of curl, wget, python3, busybox$broken"
  fi
}

# get URL FILE: set `http`, the status or 000, and `said` where the last line of the note does not say it.
get() {
  case $fetcher in
  curl | python3) "by_$fetcher" "$1" "$2" ;;
  *) $how "$1" "$2" ;;
  esac 2>"$work/note"
}

by_curl() {
  # -q: root's .curlrc is none of our business. --proto: no way to file: or down to plain http.
  http=$(echo "url = \"$1\"" | curl -q -sS -f -L --max-redirs 3 --proto "=${1%%:*}" --proto-redir "=${1%%:*}" \
    --connect-timeout 10 --max-time "$seconds" -o "$2" -w '%{http_code}' -K -) || return
  [ "$http" = 200 ]
}

by_wget() {
  # --no-config: nor is root's .wgetrc.
  echo "$1" | wget --no-config -nv -S -O "$2" --tries=1 --timeout=20 --max-redirect=3 -i - && http=200 && return
  set -- $?
  said="wget exit $1" # its own words quote the URL
  wget_status "$1"
}

# busybox's wget can be told the URL by an argument only. It checks no certificate either; the digest vouches for the
# content, and that came by way of SSM. No -T: with it Debian 12's (1.35.0) crashes. The guard has a deadline anyway.
by_small_wget() {
  $small_wget -O "$2" "$1" && http=200 && return
  wget_status $?
}

wget_status() {
  http=$(sed -n 's|.*HTTP/[0-9.]* \([1-5][0-9][0-9]\).*|\1|p' "$work/note" | tail -n 1)
  http=${http:-000}
  return "$1"
}

by_python3() {
  http=$(echo "$1" | python3 -I -c '
import shutil, sys, urllib.error, urllib.request
url = sys.stdin.readline().strip()
try: answer = urllib.request.urlopen(url, None, 20)
except urllib.error.HTTPError as error: sys.exit(print(error.code) or 22)
shutil.copyfileobj(answer, open(sys.argv[1], "wb"))
print(answer.status)' "$2") && return
  set -- $?
  http=${http:-000}
  return "$1"
}

# What has come: its digest, its files.

# digest FILE ...: set `sums` to theirs, each with a blank after it; empty where nothing can compute them.
digest() {
  sums='' wanted=$((2 * $#))
  set -f # openssl writes *NAME
  for tool in sha256sum shasum openssl busybox python3; do
    ! command -v $tool >/dev/null || break
  done
  # shellcheck disable=SC2046 # digests and names, none of which has a blank
  case $tool in
  sha256sum) set -- $(sha256sum "$@") ;;
  shasum) set -- $(shasum -a 256 "$@") ;;
  openssl) set -- $(openssl dgst -sha256 -r "$@") ;;
  busybox) set -- $(busybox sha256sum "$@") ;;
  python3) set -- $(python3 -I -c 'import hashlib,sys
for f in sys.argv[1:]:print(hashlib.sha256(open(f,"rb").read()).hexdigest(),f)' "$@") ;;
  esac 2>/dev/null
  set +f
  # Each with a name.
  [ $# -eq "$wanted" ] || return 0
  while [ $# -gt 0 ]; do
    [ ${#1} -ne 64 ] || sums="$sums$1 "
    shift 2
  done
}

# unpack: modes as they were packed, whatever the umask; owned by us, whoever packed it.
unpack() {
  note=$(tar -xzpof "$work/bundle" -C "$work/files" 2>&1)
  set -- $?
  if [ "$1" != 0 ]; then
    note="exit $1 $note"
    ! cramped || refuse no-place "$work: full while unpacking"
    refuse unpack "$note"
  fi
  # The room, not the name: that goes with the rest.
  true >"$work/bundle"
}

# cramped: whether the disk is full, which the tools say in many ways or, on that same disk, not at all: whether 64 KiB cannot
# be written, in four steps, without a process.
cramped() {
  chunk=' ' chunks=0
  while [ ${#chunk} -lt 16384 ]; do chunk=$chunk$chunk; done
  while [ "$chunks" -lt 4 ] && echo "$chunk"; do chunks=$((chunks + 1)); done >"$work/room"
  ! { true >"$work/room" && [ "$chunks" = 4 ]; }
} 2>/dev/null

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

self=$0; case ${1:-} in guard) shift; guard "$@" ;; *) exec 3</dev/null; main ;; esac
