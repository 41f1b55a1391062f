#!/bin/sh
# Keeps a dump of the day, and those of the last fortnight.
set -eu
to="${BACKUPS:-/backups/postgres}"
umask 077
pg_dump --format=custom --file="$to/.new" "service=ordinaut"
mv "$to/.new" "$to/ordinaut_$(date +%Y%m%d_%H%M%S).dump"
find "$to" -name 'ordinaut_*.dump' -mtime +14 -delete
