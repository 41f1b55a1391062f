#!/bin/sh
# Starts the containers of the version that serves again, in the order in which they need each other.
set -eu
project="${1:-ordinaut-main}"
for service in api scheduler worker; do
  docker restart "$project-$service"
done
