# Sourced by up and down: where the real services live, and how to look at one.
# Everything stands in one cache folder outside the checkout; the services run in a Debian root there.

CACHE=${MILEPOST_SERVICES:-${XDG_CACHE_HOME:-$HOME/.cache}/milepost-services}
ROOT=$CACHE/root
RUN=$CACHE/run
LOGS=$CACHE/log
PG_PORT=${MILEPOST_SERVICES_PG_PORT:-15432}
ODOO_PORT=${MILEPOST_SERVICES_ODOO_PORT:-18069}
NATS_PORT=${MILEPOST_SERVICES_NATS_PORT:-14222}
PG_BIN=/usr/lib/postgresql/17/bin
PG_DATA=/var/lib/postgresql/milepost
ODOO_DB=odoo19
ODOO_ADDONS=/opt/milepost-addons

say() { echo "services: $*" >&2; }

die() {
    say "$*"
    exit 1
}

CLEAN_ENV=(env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8 TZ=UTC
    DEBIAN_FRONTEND=noninteractive)

# inside USER COMMAND...: run a command in the root as one of its users.
inside() {
    local user=$1
    shift
    "${CLEAN_ENV[@]}" chroot --userspec="$user" "$ROOT" "$@"
}

# launch NAME USER COMMAND...: the same in the background, with a pid file and a log.
launch() {
    local name=$1 user=$2
    shift 2
    # setsid, env and chroot all exec, so the recorded id is the service's own. The lock (9) must not outlive this script.
    setsid "${CLEAN_ENV[@]}" chroot --userspec="$user" "$ROOT" "$@" >>"$LOGS/$name.log" 2>&1 </dev/null 9>&- &
    echo $! >"$RUN/$name.pid"
}

# pid_of NAME: the service's process id, if it is alive and really runs in our root (ids are reused).
pid_of() {
    local pid
    pid=$(cat "$RUN/$1.pid" 2>/dev/null) || return 1
    [ "$(readlink "/proc/$pid/root" 2>/dev/null)" = "$(readlink -f "$ROOT")" ] || return 1
    echo "$pid"
}

stop() {
    local name=$1 signal=${2:-TERM} pid
    pid=$(pid_of "$name") || return 0
    kill -"$signal" "$pid"
    for _ in $(seq 100); do
        pid_of "$name" >/dev/null || break
        sleep 0.2
    done
    if pid_of "$name" >/dev/null; then kill -KILL "$pid"; fi
    rm -f "$RUN/$name.pid"
    say "$name stopped"
}

# SIGINT is PostgreSQL's fast shutdown; a plain TERM waits for the clients to leave.
stop_postgres() { stop postgres INT; }
stop_nats() { stop nats; }
stop_odoo() { stop odoo; }

# Innermost first. Whatever is still mounted here must not be removed with the folder: /dev is the machine's own.
unmount_root() {
    local point
    for point in dev/shm dev proc; do
        if mountpoint -q "$ROOT/$point"; then umount "$ROOT/$point"; fi
    done
}
