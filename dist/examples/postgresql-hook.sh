#!/bin/bash
# A hook for a group with all of a PostgreSQL cluster on it, before its freeze:
#
#   frazil group set db --before '/etc/frazil/postgresql-hook.sh -h /run/postgresql'
#
# PostgreSQL recovers from any one instant of all its files. A checkpoint right before it shortens
# that recovery: little WAL is left to replay. Arguments go to psql.
set -euo pipefail

if [ "$FRAZIL_PHASE" = before ]; then
    exec runuser -u postgres -- psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 \
        --command CHECKPOINT "$@" postgres
fi
