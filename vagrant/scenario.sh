#!/usr/bin/env bash
# The three-host scenario on virtual machines: `vagrant up` first (see Vagrantfile), then this.
# Fails at the first thing that is not as it should be.
set -euo pipefail
cd "$(dirname "$0")"
LIMIT_S=60

on() { local host=$1; shift; vagrant ssh "host$host" -c "sudo $*" 2>/dev/null | tr -d '\r'; }
address() { echo "192.168.56.$((10 + $1))"; }
say() { printf '== %s\n' "$*"; }
# await WHAT COMMAND...: until it succeeds.
await() {
    local what=$1 end=$((SECONDS + LIMIT_S)); shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "not within $LIMIT_S s: $what" >&2; exit 1; }
        sleep 0.2
    done
}
page() { curl -fsS --max-time 5 "http://$(address "$1"):8080/"; }
tasks() { on 1 swarm service ps --filter desired-state=running --format "'{{.CurrentState}}'" demo_web | grep -c '^Running' || true; }
has_tasks() { [ "$(tasks)" = "$1" ]; }

say "three managers"
on 1 swarm init --advertise-addr "$(address 1)"
token=$(on 1 swarm join-token -q manager)
for i in 2 3; do on $i swarm join --advertise-addr "$(address $i)" --token "$token" "$(address 1):2377"; done
on 2 swarm node ls

say "the demo's stack, deployed from host 2"
for i in 1 2 3; do
    on $i /swarm/scripts/demo-images.sh make /tmp/images
    on $i /swarm/scripts/demo-images.sh load /tmp/images /usr/local/bin/swarm /run/swarm/swarm.sock
done
on 2 swarm stack deploy -c /swarm/compose/demo.yml demo
await "three tasks of the front end" has_tasks 3
for i in 1 2 3; do await "host $i answers" page $i; done

say "kill -9 of a daemon stops no container"
before=$(on 3 pgrep -f httpd | sort)
on 3 systemctl kill --kill-who=main -s KILL swarm
await "host 3 answers again" page 3
[ "$before" = "$(on 3 pgrep -f httpd | sort)" ] || { echo "containers of host 3 changed" >&2; exit 1; }

say "a host that is switched off: its tasks run elsewhere"
vagrant halt -f host3
await "three tasks without host 3" has_tasks 3
for i in 1 2; do await "host $i answers" page $i; done
vagrant up host3 --no-provision
await "host 3 is ready again" on 1 "swarm node ls --format '{{.Hostname}} {{.Status}}' | grep -q 'host3 Ready'"

say "gone without a trace"
on 1 swarm stack rm demo
say "all as it should be"
