#!/usr/bin/env bash
# Send one value over UDP: bash send_value.sh PROCESS PATH VALUE
set -eu
host=${DATTSS_SERVER_UDP_HOST:-127.0.0.1}
port=${DATTSS_SERVER_UDP_PORT:-8127}
printf '%s:%s:%s:%s' "$DATTSS_AUTH_KEY" "$1" "$2" "$3" > "/dev/udp/$host/$port"
