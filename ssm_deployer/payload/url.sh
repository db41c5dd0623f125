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
