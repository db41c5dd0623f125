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
