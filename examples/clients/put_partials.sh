#!/usr/bin/env bash
# Put values from standard input together and send them over HTTP:
#   seq 1 100 | bash put_partials.sh PATH TYPE        TYPE is c, g or ms
set -eu
path=$1 type=$2
values=$(grep -E '^-?[0-9]+$') # in the order in which they came
ends=$(printf '%s\n' "$values" | awk 'NR == 1 { first = $1 } { sum += $1; last = $1 }
  END { printf "\"sum\":%d,\"cnt\":%d,\"fst\":%d,\"lst\":%d", sum, NR, first, last }')
ranks=$(printf '%s\n' "$values" | sort -n | awk '{ v[NR] = $1 } END {
  low = int(0.1 * NR + 0.999999); if (low > NR - 1) low = NR - 1
  high = int(0.9 * NR + 0.5); if (high > NR - 1) high = NR - 1
  printf "\"min\":%d,\"max\":%d,\"bot\":%d,\"top\":%d", v[1], v[NR], v[low + 1], v[high + 1] }')
partial="{\"typ\":\"$type\",\"pth\":\"$path\",\"pct\":0.1,\"emp\":false,$ends,$ranks}"
parts=""
for each in c g ms; do
  if [ "$each" = "$type" ]; then mine=$partial; else mine=""; fi
  parts="$parts${parts:+,}\"$each\":[$mine]"
done
server="http://${DATTSS_SERVER_HTTP_HOST:-127.0.0.1}:${DATTSS_SERVER_HTTP_PORT:-3002}"
curl --silent --show-error --fail --max-time 5 -X PUT -H 'Content-Type: application/json' \
  --data "{\"prt\":{$parts}}" "$server/agg?auth=$DATTSS_AUTH_KEY" > /dev/null
