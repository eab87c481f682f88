# Runs "$@" on two hosts at once, each in a folder of its own (a and b): two network namespaces with a cable between
# them. NODE is 0 and 1 there, HOST the address, and GLOO_SOCKET_IFNAME the device. Nothing is left behind.
set -euo pipefail
ip link set lo up
unshare --net sleep infinity &
other=$!
trap 'kill $other' EXIT
on_other() { nsenter --net --target "$other" "$@"; }
until [[ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/self/ns/net)" ]]; do sleep 0.01; done
ip link add cable0 type veth peer name cable1 netns "$other"
ip addr add 10.77.0.1/24 dev cable0
ip link set cable0 up
on_other ip link set lo up
on_other ip addr add 10.77.0.2/24 dev cable1
on_other ip link set cable1 up
(cd b && NODE=1 GLOO_SOCKET_IFNAME=cable1 TZ=Asia/Tokyo exec nsenter --net --target "$other" "$@") &
second=$!
(cd a && NODE=0 GLOO_SOCKET_IFNAME=cable0 exec "$@")
wait "$second"
