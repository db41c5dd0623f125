#!/bin/sh
# isolate.sh FOLDER NAME [NUMBER HOST SERVER [RATE]]: the first process of a server's namespaces (mount, pid, uts and,
# with a NUMBER, net) lays the server's own places over the machine's, connects it, and becomes sshd.
set -eu
folder=$1 name=$2 number=${3-} host=${4-} server=${5-} rate=${6-}

# Until it is mounted anew, /proc is the farm's, and its first process lives in the network of the machine.
outside() { nsenter --net=/proc/1/ns/net "$@"; }
slow() { "$1" tc qdisc add dev "$2" root tbf rate "$rate" burst 16kb latency 400ms; }
if [ -n "$number" ]; then
  # A socket that waits for answers to come through a cut link keeps this network up to minutes after its processes.
  echo 1 >/proc/sys/net/ipv4/tcp_orphan_retries
  outside ip link delete "farm$number" 2>/dev/null || : # that of the start before
  ip link add eth0 type veth peer name "farm$number" netns /proc/1/ns/net
  outside ip address add "$host/30" dev "farm$number"
  outside ip link set "farm$number" up
  ip address add "$server/30" dev eth0
  ip link set eth0 up
  ip link set lo up
  ip route add default via "$host"
  [ -z "$rate" ] || { slow outside "farm$number" && slow env eth0; }
fi

mount -t proc proc /proc
echo "$name" >/proc/sys/kernel/hostname
mount --rbind "$folder" /mnt # a way to the folder that no mount below hides
set --
for other in "${folder%/*}"/*/root; do
  [ "$other" = "$folder/root" ] || set -- "$@" "$other"
done
umount -l "$@" 2>/dev/null || : # a machine does not see the file systems of others; not all have one of their own
for place in tmp var/tmp var/lib var/log run root home dev/shm; do
  mount --bind "/mnt/root/$place" "/$place"
done
mount --bind /mnt/ssh /etc/ssh
for file in /mnt/etc/*; do
  mount --bind "$file" "/etc/${file##*/}"
done
for hidden in /mnt/without/*/*bin; do # whiteouts: what is named there is not in the folder of the machine
  [ -d "$hidden" ] || continue
  place=${hidden#/mnt/without}
  mount -t overlay overlay -o "lowerdir=$hidden:$place" "$place"
done
umount -l /mnt
mount -o remount,bind,ro /
exec /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config
