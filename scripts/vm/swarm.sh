#!/bin/sh
# One node on this host, its daemon in a service's group: a service converges, keeps its limits, survives the
# daemon and goes without leaving a cgroup.
set -eu
said() { echo "vm: $*"; }
fail() {
    said "FAILED: $*"
    swarm service ps --no-trunc web || true; swarm service logs web || true; tail -n 40 /tmp/daemon.log
    nft list ruleset; lsmod
    exit 1
}
# await SECONDS WHAT COMMAND...
await() {
    left=$1 what=$2; shift 2
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1)); [ $left -gt 0 ] || fail "not in time: $what"
        sleep 1
    done
}
daemon() { swarm daemon --log-level info >> /tmp/daemon.log 2>&1 & daemon=$!; await 60 "the daemon answers" swarm version; }
replicas() { [ "$(swarm service ls --filter name="$1" --format '{{.Replicas}}')" = "$2" ]; }
# Not by wget: busybox's asks for the libraries of name services, which this machine has not.
page() { printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 5 10.77.0.1 8080 | grep -q page; }
# limit FILE VALUE: the only value of this file in the groups of the containers, whose names are 64 digits.
limit() {
    found=$(cat "$parent"/????????????????????????????????*/"$1" | sort -u)
    said "$1: $found"; [ "$found" = "$2" ] || fail "$1 is not $2"
}

ip link add host0 type dummy; ip address add 10.77.0.1/24 dev host0; ip link set host0 up
daemon; began=$(cut -d. -f1 /proc/uptime)
swarm init --advertise-addr 10.77.0.1 >/dev/null
swarm info | grep -i cgroup
swarm image load -i /tests/busybox.tar
swarm service create --detach --name web --replicas 2 --limit-memory 32M --limit-cpu 0.5 --limit-pids 20 --publish 8080:80 \
    busybox:vm sh -c 'mkdir /www; echo page > /www/index.html; echo serving; exec httpd -f -v -h /www'
await 120 "the service converges" replicas web 2/2
said "converged $(($(cut -d. -f1 /proc/uptime) - began)) s after the daemon answered"
await 60 "the published port answers" page
swarm service ls; swarm service ps web
await 30 "the log has come" sh -c 'swarm service logs web | grep -q serving'; swarm service logs web

parent=$(echo /sys/fs/cgroup/swarm-*)
said "daemon in $(cut -d: -f3 /proc/$daemon/cgroup), groups: $(cd "$parent" && echo */)"
said "controllers on for containers: $(cat "$parent/cgroup.subtree_control")"
limit memory.max 33554432; limit memory.swap.max 33554432; limit cpu.max '50000 100000'; limit pids.max 20

kill -9 $daemon; wait $daemon 2>/dev/null || true
page || true; daemon; await 60 "the service is there after kill -9 of the daemon" replicas web 2/2
[ "$(swarm service ps -q web | wc -l)" = 2 ] || fail "tasks were replaced: $(swarm service ps web)"

swarm service create --detach --name greedy --limit-memory 16M --restart-condition none busybox:vm sh -c 'x=x; while :; do x=$x$x; done'
await 90 "a task over its memory fails" sh -c 'swarm service ps --no-trunc greedy | grep -q "Failed"'
swarm service ps --no-trunc greedy

swarm service rm web greedy
await 60 "every container's group is gone" sh -c "! ls -d $parent/*/ | grep -qv shims/"
kill $daemon; wait $daemon || true
said "left: $(cd "$parent" && echo */) with $(cat "$parent"/shims/cgroup.procs | wc -l) processes"
