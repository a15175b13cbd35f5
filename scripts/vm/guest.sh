#!/usr/bin/busybox sh
# The first process on the disk: a host as systemd sets it up, as far as cgroups go, then the tests.
/usr/bin/busybox --install -s /usr/bin 2>/dev/null  # beside the programs that are there
chown -R 0:0 /usr /etc /root /tests 2>/dev/null  # of whoever made the disk
export PATH=/usr/sbin:/usr/bin HOME=/root TMPDIR=/tmp RUST_BACKTRACE=1 TERM=dumb
mount -t tmpfs run /run; mkdir -p /dev/pts /dev/shm /run/netns; mount -t devpts pts /dev/pts; mount -t tmpfs shm /dev/shm
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
mount --make-rshared /
modprobe tun; modprobe fuse  # udev would make their nodes
mkswap /dev/vdb >/dev/null; swapon /dev/vdb
hostname vm; ip link set lo up
echo "vm: Linux $(uname -r), controllers: $(cat /sys/fs/cgroup/cgroup.controllers)"

# A service with Delegate=yes: this process and all it starts are in its group, systemd's controllers are on.
service=/sys/fs/cgroup/system.slice/swarm.service
mkdir -p $service /sys/fs/cgroup/init.scope
echo '+memory +pids' > /sys/fs/cgroup/cgroup.subtree_control
echo '+memory +pids' > /sys/fs/cgroup/system.slice/cgroup.subtree_control
echo $$ > $service/cgroup.procs
ulimit -n 65536

failed=
# The limits again for a daemon in a container, which sees its own group as the top.
nested() {
    echo "vm: limits in a container"
    echo '+cpu +memory +pids' > /sys/fs/cgroup/cgroup.subtree_control
    mkdir /sys/fs/cgroup/container
    sh -c 'echo $$ > /sys/fs/cgroup/container/cgroup.procs
        exec /usr/bin/unshare -C -m sh -c "umount /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup
            exec timeout -s KILL 120 /tests/runtime-tests/limits --test-threads=1 limits_are_written"'
}
runtime() {
    cd /tests || return
    filter=$(sed 's/.*filter=//' /proc/cmdline)
    for test in runtime-tests/*; do
        name=${test##*/}
        echo "vm: $name"
        timeout -s KILL 600 "$test" --test-threads=1 $filter || failed="$failed $name"
    done
    nested || failed="$failed nested"
    echo "vm: cgroups left: $(cd /sys/fs/cgroup && ls -d swarm* 2>/dev/null)"
}
swarm() { echo "vm: swarm"; timeout -s KILL 600 sh /tests/swarm.sh || failed="$failed swarm"; }

for part in $(sed 's/.*parts=\([^ ]*\).*/\1/; s/,/ /g' /proc/cmdline); do $part; done
if [ -z "$failed" ]; then echo passed > /dev/ttyS1; else echo "failed:$failed" > /dev/ttyS1; fi
sync; sleep 1; reboot -f
