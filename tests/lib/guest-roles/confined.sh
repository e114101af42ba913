# SPDX-License-Identifier: Apache-2.0
#
# A guest whose kernel has AppArmor. It loads /profile, which enforces, and lets the daemon live
# under it, as a user of its own that serves TLS: /short-life.sh, with a restart. What the kernel
# denied is told as `denied`. A daemon whose images are where the profile has none must end; the
# number of denials is told.
export PATH=/usr/bin:$PATH
. /short-life.sh
policy=/sys/kernel/security/apparmor
pki=/etc/snapgroupd/pki
user=999

denials() { dmesg | grep -o 'apparmor="DENIED".*' | while read -r line; do say "denied $line"; done; }

run_daemon() { # OPTION...
    umask 077
    exec /usr/bin/setpriv --reuid=$user --regid=$user --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
        /usr/bin/snapgroupd --tls-cert-dir $pki --listen unix:/run/snapgroupd/api.sock --listen tls:127.0.0.1:7420 "$@" \
        >/tmp/daemon.log 2>&1
}

start_daemon() {
    run_daemon &
    daemon=$!
    until snapgroupctl status >/dev/null 2>&1; do
        kill -0 $daemon || { say "the daemon ends: $(cat /tmp/daemon.log)"; denials; return 1; }
        sleep 0.1
    done
    say "runs as $(cat /proc/$daemon/attr/current)"
}

stop_daemon() {
    kill $daemon
    wait $daemon || say "the daemon ends with $?: $(cat /tmp/daemon.log)"
}

mount -t securityfs securityfs /sys/kernel/security
dd if=/profile of=$policy/.replace bs=16M 2>/dev/null # in one write
say "loaded $(grep '^snapgroupd ' $policy/profiles)"

ip link set lo up
mkdir -p /var/lib/snapgroupd /run/snapgroupd /srv
mount -t tmpfs tmpfs /run/snapgroupd
mount -t tmpfs tmpfs /var/lib/snapgroupd
chown $user:$user /var/lib/snapgroupd /run/snapgroupd
chown -R $user:$user /etc/snapgroupd
chmod 777 /srv

start_daemon
live "kill -HUP $daemon"
stop_daemon
start_daemon
live_on
denials

dmesg -c >/dev/null
stop_daemon
! (run_daemon --image-dir /srv) || say 'allowed outside'
say "logged $(dmesg | grep -c 'apparmor="DENIED".*name="/srv/')"
