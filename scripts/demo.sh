#!/usr/bin/env bash
# The demo: a cluster of hosts on this machine and a stack that runs on it.
# usage: scripts/demo.sh up SWARM NAME NODES      scripts/demo.sh down SWARM NAME
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin

# Images are loaded and containers started within seconds; a busy machine takes longer.
LIMIT_S=120
PORT=8080

sockets() { "$swarm" dev ls --name "$name" --format json | sed -n 's/.*"Socket":"\([^"]*\)".*/\1/p'; }
addresses() { "$swarm" dev ls --name "$name" --format json | sed -n 's/.*"Address":"\([^"]*\)".*/\1/p'; }

# Every service has as many tasks running as it should.
converged() {
    local replicas
    replicas=$("$swarm" -H "unix://$1" service ls --format '{{.Replicas}}') || return 1
    [ -n "$replicas" ] && ! echo "$replicas" | awk -F / '$1 != $2+0 { bad = 1 } END { exit !bad }'
}

# The page of a host as the whole stack makes it: the front end answers, and the store behind it.
whole_page() {
    page "$1" | grep -q '<h1>[0-9]'
}

# The page of a host, over a socket of the shell: nothing else needs to be installed.
page() {
    (exec 3<>"/dev/tcp/$1/$PORT" && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && timeout 5 cat <&3) 2>/dev/null
}

# await WHAT COMMAND...: runs the command until it succeeds, or fails the demo.
await() {
    local what=$1 end=$((SECONDS + LIMIT_S)); shift
    until "$@" >/dev/null; do
        if [ $SECONDS -ge $end ]; then
            echo "demo: $what: not within $LIMIT_S s; the logs are in /run/swarm-dev/$name" >&2
            "$swarm" -H "unix://$first" stack ps --no-trunc "$name" >&2 || true
            exit 1
        fi
        sleep 0.2
    done
}

up() {
    local address
    "$swarm" dev up --name "$name" --nodes "$nodes"
    images=$(mktemp -d); trap 'rm -rf "$images"' EXIT
    echo "making images from packages of this distribution, loading them into each host" >&2
    scripts/demo-images.sh make "$images"
    # shellcheck disable=SC2046
    scripts/demo-images.sh load "$images" "$swarm" $(sockets) >&2
    first=$(sockets | head -n 1)
    "$swarm" -H "unix://$first" stack deploy -c compose/demo.yml "$name" >&2
    await "the stack runs" converged "$first"
    for address in $(addresses); do await "$address answers on port $PORT with the store's count" whole_page "$address"; done

    echo
    "$swarm" -H "unix://$first" stack ps "$name"
    cat <<TEXT

The stack runs. Open it at any of its hosts:
$(addresses | sed "s|.*|  http://&:$PORT|")

What to try next ($([ "$(id -u)" = 0 ] && echo "as root"); the docker command line works as well):
  export DOCKER_HOST=unix://$first
  export PATH=\$PATH:$(cd "$(dirname "$swarm")" && pwd)
  swarm node ls
  swarm service logs -f ${name}_worker
  swarm service scale ${name}_web=6
  swarm dev kill 2 --name $name && swarm dev start 2 --name $name   # a daemon dies, its containers go on
  swarm dev partition 3 --name $name  # a host is cut off, its tasks run elsewhere
  swarm dev heal --name $name
  make demo-down                      # nothing stays
TEXT
}

case ${1-} in
    up) swarm=$2 name=$3 nodes=$4; up ;;
    down) swarm=$2 name=$3; "$swarm" dev down --name "$name" ;;
    *) sed -n '3p' "$0" >&2; exit 2 ;;
esac
