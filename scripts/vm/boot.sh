#!/bin/busybox sh
# The first root of the machine: finds the disk and goes on there.
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
for module in virtio_pci virtio_blk crc32c_generic crc32c ext4; do modprobe $module 2>/dev/null; done
until [ -b /dev/vda ]; do sleep 0.1; done
mount -t ext4 /dev/vda /root || exec reboot -f
for dir in dev proc sys; do mount -o move /$dir /root/$dir; done
exec switch_root /root /tests/guest.sh
