#!/bin/bash
# A hook for a group with all of a MySQL or MariaDB server on it, before and after its freeze:
#
#   frazil group set db --before '/etc/frazil/mysql-hook.sh --defaults-file=/etc/frazil/my.cnf' \
#       --after /etc/frazil/mysql-hook.sh
#
# A lock lasts as long as its session. So a client is left in the background with the read lock,
# and told to let go afterwards. Nobody holds it longer than HOLD_SECONDS, whatever happens.
# Arguments go to the client.
set -euo pipefail

HOLD_SECONDS=60
WAIT_SECONDS=20
state=${FRAZIL_HOOK_STATE:-/run/frazil}/mysql-$FRAZIL_GROUP

fail() {
    echo "$1" >&2
    exit 1
}

# Wait until the client has said a word; fail once it has ended without.
heard() {
    until grep -qx "$1" "$state/said" 2>/dev/null; do
        # One that has ended has no program, though nobody may have collected it yet.
        if [ ! -e "/proc/$(cat "$state/pid")/exe" ]; then
            fail "$2: $(tail -n 1 "$state/errors" 2>/dev/null)"
        fi
        sleep 0.05
    done
}

before() {
    rm -rf "$state"
    mkdir -m 700 -p "$state"
    mkfifo -m 600 "$state/asked"
    # Open for both before anybody uses it: the client sees no end of its input, and nothing that
    # is written before it starts is lost.
    exec 3<>"$state/asked"
    timeout "$HOLD_SECONDS" mysql "$@" --batch --skip-column-names --unbuffered \
        <&3 3>&- >"$state/said" 2>"$state/errors" &
    echo $! >"$state/pid"
    cat >&3 <<SQL
SET SESSION lock_wait_timeout = $WAIT_SECONDS;
FLUSH TABLES WITH READ LOCK;
SELECT 'held';
SQL
    heard held "the read lock is not to be had"
}

after() {
    [ -e "$state/pid" ] || exit 0
    # Without the lock there is nothing to let go, and before has told of it.
    if grep -qx held "$state/said"; then
        cat 1<>"$state/asked" <<<"UNLOCK TABLES; SELECT 'released'; "
        heard released "the read lock was lost before the freeze was over"
    fi
    kill "$(cat "$state/pid")" 2>/dev/null || true
    rm -rf "$state"
}

case $FRAZIL_PHASE in
    before) before "$@" ;;
    after) after ;;
esac
