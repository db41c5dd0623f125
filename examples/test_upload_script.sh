#!/bin/sh
# What is this machine like? System, network, Docker and Bacalhau, as far as the machine has the tools to say it.
#
#   ssm-deploy upload-script examples/test_upload_script.sh -t tag:Role=web
#   ssm-deploy upload-script examples/test_upload_script.sh -t tag:Role=web -- https://example.com/
#
# The argument is an address to try the way out with; without one it is S3 in the machine's own region.
# A missing tool is said and never fails the script: it ends with 0 on a bare machine, too.
set -u

heading() { printf '== %s ==\n' "$1"; }

have() { command -v "$1" >/dev/null 2>&1; }

# show NAME COMMAND…: its output behind a name, indented below it where there are several lines.
show() {
  name=$1
  shift
  have "$1" || {
    missing "$name" "no $1"
    return
  }
  output=$("$@" 2>&1) || output="${output:+$output
}(failed with $?)"
  case $output in
  *'
'*) printf '%s:\n' "$name" && printf '%s\n' "$output" | indented ;;
  *) printf '%-14s %s\n' "$name:" "${output# }" ;;
  esac
}

indented() {
  while IFS= read -r line; do printf '    %s\n' "$line"; done
}

missing() { printf '%-14s %s\n' "$1:" "not known here ($2)"; }

# soon COMMAND…: ended after ten seconds, where that can be done; a daemon that is stuck answers nothing for ever.
soon() {
  if have timeout; then timeout 10 "$@"; else "$@"; fi
}

system() {
  heading System
  show instance printf '%s in %s' "${AWS_SSM_INSTANCE_ID:-unknown}" "${AWS_SSM_REGION_NAME:-an unknown region}"
  show kernel uname -srm
  show system distribution
  show uptime running_for
  show user id
  if have free; then
    show memory free -m
  elif [ -r /proc/meminfo ]; then
    show memory sed -n '/^Mem\|^Swap/p' /proc/meminfo
  else
    missing memory 'neither free nor /proc/meminfo'
  fi
  # The root and what holds the temporary files; df fails for what is not there.
  show disk df -Ph / /tmp
}

distribution() {
  if [ -r /etc/os-release ]; then
    # shellcheck disable=SC1091 # the machine's own file
    (. /etc/os-release && echo "${PRETTY_NAME:-${NAME:-unnamed}}")
  else
    echo 'no /etc/os-release'
  fi
}

running_for() {
  if have uptime; then
    uptime
  elif read -r seconds _ </proc/uptime; then
    echo "${seconds%%.*} seconds"
  else
    echo unknown
  fi
}

network() {
  heading Network
  show name uname -n
  if have ip; then
    show interfaces addresses
    show routes ip route show
  elif have ifconfig; then
    show interfaces ifconfig -a
    show routes netstat -rn
  elif [ -r /proc/net/dev ]; then
    show interfaces sed -n 's/^ *\([^ |:]*\):.*/\1/p' /proc/net/dev
    missing routes 'neither ip nor netstat'
  else
    missing interfaces 'neither ip, ifconfig nor /proc/net/dev'
  fi
  if [ -r /etc/resolv.conf ]; then
    show resolver sed -n '/^[^#;]/p' /etc/resolv.conf
  else
    missing resolver 'no /etc/resolv.conf'
  fi
  show 'way out' way_out "${1:-https://s3.${AWS_SSM_REGION_NAME:-us-east-1}.amazonaws.com/}"
}

addresses() { ip -o address show | awk '{ print $2, $4 }'; }

# Any answer will do, a refusal too: it shows that names resolve and that packets come back.
way_out() {
  if have curl; then
    if said=$(curl -sS -o /dev/null -w '%{http_code}' --connect-timeout 3 --max-time 8 "$1" 2>&1); then
      echo "$1 answers with HTTP $said"
    else
      echo "$1 does not answer: ${said%000}"
    fi
  elif have wget; then
    said=$(soon wget -T 5 -O /dev/null "$1" 2>&1)
    result=$?
    case $result$said in
    0* | *HTTP/* | *'HTTP request sent'* | *'server returned'*) echo "$1 answers" ;;
    *) echo "$1 does not answer" ;;
    esac
  else
    echo 'not tried (neither curl nor wget)'
  fi
}

docker_status() {
  heading Docker
  if have docker; then
    show version docker --version
    show containers soon docker ps --all
  else
    echo 'Docker is not installed.'
  fi
}

bacalhau_status() {
  heading Bacalhau
  if have bacalhau; then
    show version soon bacalhau version
    show nodes soon bacalhau node list
  else
    echo 'Bacalhau is not installed.'
  fi
}

system
echo
network "${1:-}"
echo
docker_status
echo
bacalhau_status
echo
echo 'Done.'
