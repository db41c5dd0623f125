# Everything comes by stdin: this text (see login.py), then a tar of it all, then whatever the client has to say. That it
# is what was sent, SSH's own digests vouch for, and that it is all of it, its size.

# attend: have the client on 3 and the tar on 5.
attend() {
  exec 3<&0 5<&0
  copied=${SSM_DEPLOY_CONTENT:-}
  unset SSM_DEPLOY_CONTENT
  [ -z "$copied" ] || take "$copied"
  uid=0
  while read -r key uid _; do
    [ "$key" != Uid: ] || break
  done </proc/self/status 2>/dev/null
  [ "$uid" = 0 ] || retire
}

# retire: have the locks where this user, who is not root, may make them, and nobody else does.
retire() {
  user=$(own_name)
  home=$(home_of "$user")
  # The home last: many machines may share it, and each has a lock of its own.
  shelf=.ssm-deploy-$uid own_roots='/var/tmp'
  # A name that needs no quoting anywhere is part of being usable.
  case $home in
  *[!A-Za-z0-9/._,+@:~-]*) ;;
  /?*) own_roots="$own_roots $home" ;;
  esac
  SSM_DEPLOY_STATE_DIR=${SSM_DEPLOY_STATE_DIR:-$own_roots}
  # To be who one is takes no root.
  [ "$run_as" != "$user" ] || run_as=
}

# take FILE: have the tar on 5 from a file that was put there before, and leave none of its kind behind.
take() {
  # Not found, it is too short. A file that cannot be opened would be the end of this shell.
  exec 5</dev/null
  [ ! -r "$1" ] || exec 5<"$1"
  rm -f "$1"
  for old in "${1%/*}"/.ssm-deploy-*; do
    [ ! -f "$old" ] || {
      # Two days is the longest that a run takes.
      find "${1%/*}" -maxdepth 1 -type f -name '.ssm-deploy-*' -mtime +1 -exec rm -f {} + 2>/dev/null
      return
    }
  done
}

# write_self: have this text in a file, for the guard. As an argument it would be found by a script's `pkill -f`.
write_self() {
  self=$work/payload
  printf %s "$T" >"$self"
}

# listen: let the client's word end what runs, and again every second: perhaps the script is only about to be started.
# That the client is gone means nothing.
listen() {
  (
    exec 8>&-
    while read -r word <&3; do
      [ "$word" = cancel ] || continue
      while same $$ "$mine" && echo cancelled-script >/proc/$$/fd/0; do sleep 1; done
    done
  ) &
}

# Nobody is there to reboot the machine and start this again.
resume() { false; }
begin_output() { true >"$work/out" && true >"$work/err"; }
ask_reboot() { detail='exit 194 without a reboot: only the SSM agent sees to that'; }

# receive: have $work/script and what else there is. dd takes what it was told and not a byte more, whoever made it, and
# says how much that was; and what follows the end of the archive, tar need not read, so something else does: dd must be
# able to write it all.
receive() {
  # shellcheck disable=SC3040 # for ksh, which without it waits for the last of a pipe alone
  [ -z "${KSH_VERSION:-}" ] || command set -o pipefail
  sent=
  [ -n "$copied" ] || echo "ssm-deploy-listening $run"
  dd bs="$block" count="$blocks" iflag=fullblock <&5 2>"$work/sent" | (
    tar -xof - -C "$work" 2>"$work/note"
    set -- $?
    # Most often nothing follows, which of one block is cheap to see; not so for yash, which ends a line at a NUL.
    { [ "$blocks${YASH_VERSION:-}" = 1 ] && ! read -r _; } || cat >/dev/null
    exit "$1"
  )
  unpacked=$?
  read -r sent _ <"$work/sent"
  if [ "$unpacked$sent" != "0$blocks+0" ]; then
    ! cramped || refuse no-place "$work: full while receiving"
    case $sent in
    *[!0-9+]* | '' | "$blocks+0")
      [ -s "$work/note" ] || cat "$work/sent" >"$work/note"
      refuse unpack "$(cat "$work/note")"
      ;;
    *) refuse cut-off "$sent of $blocks blocks of $block bytes" ;;
    esac
  fi
  # shellcheck disable=SC3040 # for bash, which as `sh -c` would not tell of a killed child, as `judge` has to know
  [ -z "${BASH_VERSION:-}" ] || set +o posix
  identify
}

# What the other way asks programs for, to be small, is read here, to be quick: a process costs a millisecond.

# itself: set `user` and `own_home` to those of whom this runs as. `retire` has asked for those of any other than root.
itself() {
  own_home=${home:-}
  [ "$uid" = 0 ] || return 0
  while IFS=: read -r user _ number _ _ own_home _; do
    if [ "$number" = 0 ]; then
      own_home=${own_home:-/}
      return
    fi
  done </etc/passwd
  user=root own_home=/root
}
