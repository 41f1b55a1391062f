#!/bin/sh
# Asks the API whether it is well; with --full-system the monitoring too.
set -eu
ask() {
  "${PYTHON:-python3}" -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=5).read()' "$1"
  echo "$1 is well"
}
ask "${BASE_URL:-http://127.0.0.1:8080}/health"
if [ "${1:-}" = --full-system ]; then
  ask "${PROMETHEUS_URL:-http://127.0.0.1:9090}/-/healthy"
  ask "${ALERTMANAGER_URL:-http://127.0.0.1:9093}/-/healthy"
fi
