#!/bin/sh
# ssm-deploy payload, run 20261124-abc
set -u
run='20261124-abc'
timeout='300'
fetch_timeout='60'
grace='10'
lock_seconds='7600'
need_kib='5910'
whole_output='268435456'
stdout_extract='20000'
stderr_extract='7000'
codes='no-fetch-tool:70 download:71 fetch-timeout:72 digest:73 no-digest-tool:74 no-place:75 unpack:76 duplicate:77 no-user:78 no-interpreter:79 no-lock:80 no-credentials:81 setup:82'
run_as='deploy'
script_at='https://bucket-name.s3.eu-west-1.amazonaws.com/prefix/20261124-abc/script?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAEXAMPLE%2F20261124%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date=20261124T101112Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature=0000000000000000000000000000000000000000000000000000000000000000'
script_sum='abababababababababababababababababababababababababababababababab'
script_size='1234'
inputs_at='https://bucket-name.s3.eu-west-1.amazonaws.com/prefix/20261124-abc/inputs?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAEXAMPLE%2F20261124%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date=20261124T101112Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature=0000000000000000000000000000000000000000000000000000000000000000'
inputs_sum='abababababababababababababababababababababababababababababababab'
inputs_size='1234'
bundle_at='https://bucket-name.s3.eu-west-1.amazonaws.com/prefix/20261124-abc/bundle?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAEXAMPLE%2F20261124%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date=20261124T101112Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature=0000000000000000000000000000000000000000000000000000000000000000'
bundle_sum='abababababababababababababababababababababababababababababababab'
bundle_size='1234'
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

# Where the files go, and what killed payloads left there.

# survey: set `bases`, where files may go, and `lock_roots`, which outlive a reboot unless TMPDIR says otherwise.
survey() {
  bases='/tmp /var/tmp /var/lib /run /root'
  lock_roots='/var/lib /run /var/tmp'
  # A name that needs no quoting anywhere is part of being usable.
  case ${TMPDIR:-} in
  *[!A-Za-z0-9/._,+@:~-]*) ;;
  /*) bases="$TMPDIR $bases" lock_roots="$TMPDIR $lock_roots" ;;
  esac
  pid_space=$(readlink /proc/self/ns/pid 2>/dev/null) || pid_space=none
}

# ours DIR: a world-writable place may hold lookalikes.
ours() { [ -d "$1" ] && [ -O "$1" ] && [ ! -L "$1" ]; }

# sweep: remove the work directories whose payload is no more. The pids of another namespace say nothing here.
sweep() {
  for base in $bases; do
    for old in "$base"/deploy_files_*_*; do
      { ours "$old" && read -r pid was space <"$old/owner"; } || continue
      born "$pid"
      [ "$space" != "$pid_space" ] || [ "$born" = "$was" ] || erase "$old"
    done
  done
}

# settle: make the work directory in the first place where it can be made, filled and executed from.
settle() {
  reasons=
  for base in $bases; do
    occupy "$base" 2>/dev/null && return
    [ -z "$work" ] || rm -rf "$work"
    work=
    reasons="$reasons$base: $reason; "
  done
  refuse no-place "$reasons"
}

# occupy BASE: set `work`, or `reason`.
occupy() {
  reason='no directory'
  [ -d "$1" ] || return
  room=$(df -Pk "$1" | sed -n '2s/.* \([0-9][0-9]*\)  *[0-9-]*[%-] .*/\1/p')
  reason="$room KiB free, $need_kib needed"
  [ "${room:-$need_kib}" -ge "$need_kib" ] || return
  reason='not writable'
  for again in '' _1 _2 _3; do
    # Plain mkdir follows no link and takes over nothing that someone else has put there.
    work=$1/deploy_files_${stamp}_$$$again
    mkdir -m 700 "$work" && break
    work=
  done
  [ -n "$work" ] || return
  reason='no room for even a few bytes'
  born $$
  echo "$$ $born $pid_space" >"$work/owner" || return
  mkdir "$work/files" && echo '#!/bin/sh' >"$work/probe" && chmod 755 "$work/probe" || return
  [ -z "$as" ] || chmod 711 "$work"
  reason='no program in it can be executed'
  # shellcheck disable=SC2086 # a prefix of several words
  $as "$work/probe"
}

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

# Download, verification, unpacking.

# fetch NAME LOCATION SIZE SHA256: have $work/NAME, trying again while that may help.
fetch() {
  pause=1 said=
  while :; do
    now
    seconds=$((prepare_until - up))
    [ "$seconds" -gt 0 ] || refuse fetch-timeout "$1: not here after $fetch_timeout s${said:+, last $said}"
    http=000 said=
    if get "$2" "$work/$1"; then
      digest "$work/$1"
      [ "$sum" != "$4" ] || return 0
      [ -n "$sum" ] || refuse no-digest-tool 'none of sha256sum, shasum, openssl, busybox, python3'
      have=$(wc -c <"$work/$1")
      # All of the bytes, but not the right ones: that does not mend itself.
      [ "$have" -ne "$3" ] || refuse digest "$1: $sum instead of $4"
      said="$((have)) of $3 bytes"
    fi
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

# digest FILE: set `sum`, empty where nothing can compute it.
digest() {
  for tool in sha256sum shasum openssl busybox python3; do
    ! command -v $tool >/dev/null || break
  done
  case $tool in
  sha256sum) sum=$(sha256sum <"$1") ;;
  shasum) sum=$(shasum -a 256 <"$1") ;;
  openssl) sum=$(openssl dgst -sha256 -r <"$1") ;;
  busybox) sum=$(busybox sha256sum <"$1") ;;
  python3) sum=$(python3 -I -c 'import hashlib,sys;print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())' <"$1") ;;
  esac 2>/dev/null
  sum=${sum%% *}
  [ ${#sum} -eq 64 ] || sum=
}

# unpack: modes as they were packed, whatever the umask; owned by us, whoever packed it.
unpack() {
  if ! tar -xzpof "$work/bundle" -C "$work/files" 2>"$work/note"; then
    note=$(cat "$work/note")
    case $note in
    *'No space left'*) refuse no-place "$work: full while unpacking" ;;
    *) refuse unpack "$note" ;;
    esac
  fi
  rm -f "$work/bundle"
}

# Presigned URLs. They reach the tools by stdin, since anyone on the machine may read an argument list.

choose_fetcher() {
  small_wget=wget
  if have curl; then
    fetcher=curl
  elif have wget; then
    # Only GNU's knows --version; the other takes no URL from stdin.
    fetcher=small_wget
    ! wget --version >/dev/null 2>&1 || fetcher=wget
  elif have python3; then
    fetcher=python3
  elif have busybox; then
    fetcher=small_wget small_wget='busybox wget'
  else
    refuse no-fetch-tool 'none of curl, wget, python3, busybox'
  fi
}

# get URL FILE: set `http`, the status or 000, and where it fails, `said`.
get() {
  case $fetcher in
  curl) by_curl "$1" "$2" ;;
  wget) by_wget "$1" "$2" ;;
  small_wget) by_small_wget "$1" "$2" ;;
  python3) by_python3 "$1" "$2" ;;
  esac 2>"$work/note" && return
  [ -n "$said" ] || said=$(plain "$(tail -n 1 "$work/note")")
  return 1
}

by_curl() {
  # -q: root's .curlrc is none of our business. --proto: no way to file: or down to plain http.
  http=$(echo "url = \"$1\"" | curl -q -sS -f -L --max-redirs 3 --proto "=${1%%:*}" --proto-redir "=${1%%:*}" \
    --connect-timeout 10 --max-time "$seconds" -o "$2" -w '%{http_code}' -K -)
  [ "$http" = 200 ]
}

by_wget() {
  echo "$1" | wget -nv -S -O "$2" --tries=1 --timeout=20 --max-redirect=3 -i - && http=200 && return
  said="wget exit $?" # its own words quote the URL
  wget_status
}

# busybox's wget can be told the URL by an argument only. It checks no certificate either; the digest vouches for the
# content, and that came by way of SSM. No -T: with it Debian 12's (1.35.0) crashes. The guard has a deadline anyway.
by_small_wget() {
  $small_wget -O "$2" "$1" && http=200 && return
  wget_status
}

wget_status() {
  http=$(sed -n 's|.*HTTP/[0-9.]* \([1-5][0-9][0-9]\).*|\1|p' "$work/note" | tail -n 1)
  http=${http:-000}
  return 1
}

by_python3() {
  http=$(echo "$1" | python3 -I -c '
import shutil, sys, urllib.error, urllib.request
url = sys.stdin.readline().strip()
try: answer = urllib.request.urlopen(url, timeout=20)
except urllib.error.HTTPError as error: sys.exit(print(error.code) or 22)
shutil.copyfileobj(answer, open(sys.argv[1], "wb"))
print(answer.status)' "$2") && return
  http=${http:-000}
  return 1
}

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

# The order of things.

main() {
  exec </dev/null 4>&2
  cd / || exit
  umask 077
  orient
  lock
  become
  sweep
  settle
  post
  now
  prepare_until=$((up + fetch_timeout))
  # Later than that by a second, so that it never meets a script that was just started.
  echo "prepare $((fetch_timeout + 1))" >&9
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
  work='' guard='' as='' error='' detail='' bundle='' out_sum='' err_sum=''
  code=0 signal=0 script_seconds=0 out_size=0 err_size=0 resumed=0
  survey
}

prepare() {
  choose_fetcher
  fetch script "$script_at" "$script_size" "$script_sum"
  identify
  [ -z "$inputs_at" ] || fetch inputs "$inputs_at" "$inputs_size" "$inputs_sum"
  if [ -n "$bundle_at" ]; then
    fetch bundle "$bundle_at" "$bundle_size" "$bundle_sum"
    unpack
    bundle=$bundle_sum
  fi
  arrange
  now
  # The guard may be about to end all this.
  [ "$up" -lt "$prepare_until" ] || refuse fetch-timeout 'the bundle was unpacked too late'
}

# finish: the script's exit code, but those that the agent takes for something else: 137 reads as a timeout, 168 as
# success, 169 gets text added. The record has the true one.
finish() {
  [ "$outcome" != timed-out ] || code=124
  case $code in 137 | 168 | 169) code=1 ;; esac
  exit "$code"
}

self=$0; case ${1:-} in guard) guard "$2" "$3" ;; *) main ;; esac
