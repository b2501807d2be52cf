# shellcheck shell=bash
# What the live tests and the Pebble example need of a machine; sourced by both.
#
# prepare_machine installs what is missing (Debian, as root), the packages in
# `extra` too, and starts a Docker engine if none answers; release_machine, to be
# called on exit, stops that one.

# Users other than root often lack sbin, where Debian puts half of the tools.
PATH=$PATH:/usr/sbin:/sbin

extra=() engine_pid='' engine_log='' policy_file=''

prepare_machine() {
    install_missing
    engine_answers || start_some_engine
}

release_machine() {
    stop_engine
    [ -z "$engine_log" ] || rm -f "$engine_log"
    [ -z "$policy_file" ] || rm -f "$policy_file"
}

fail() {
    printf '%s\n' "${0##*/}: $1" "${@:2}" >&2
    exit 1
}

engine_answers() {
    timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}

install_missing() {
    local missing=("${extra[@]}")
    need() { command -v "$1" >/dev/null || missing+=("$2"); }
    need curl curl
    need ip iproute2
    need openssl openssl
    need pebble pebble
    if [ -z "${CERTD_TEST_NGINX_IMAGE:-}" ]; then
        need nginx nginx-light
        [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] ||
            missing+=(libnginx-mod-stream)
    fi
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
    # The client may be here while the engine is not, or the engine elsewhere.
    need docker docker.io
    if ! engine_answers; then
        need dockerd docker.io
        need iptables iptables
    fi
    [ ${#missing[@]} -gt 0 ] || return 0

    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
    command -v apt-get >/dev/null || fail "not a Debian system; install: ${missing[*]}"
    [ "$(id -u)" = 0 ] || fail "missing Debian packages: ${missing[*]}" \
        'Run this as root, or install them first.'
    # Installing must not start the machine's own nginx and Docker services:
    # Debian's maintainer scripts ask this program, and 101 is a no.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        policy_file=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' >"$policy_file"
        chmod 755 "$policy_file"
    fi
    echo "installing ${missing[*]}" >&2
    DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
    # Newer releases keep Docker's client in a package of its own.
    if ! command -v docker >/dev/null && apt-cache show docker-cli >/dev/null 2>&1; then
        missing+=(docker-cli)
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" >&2
    [ -z "$policy_file" ] || rm -f "$policy_file"
    policy_file=''
}

start_some_engine() {
    [ -z "${DOCKER_HOST:-}" ] || fail "no Docker engine answers at DOCKER_HOST ($DOCKER_HOST)"
    [ "$(id -u)" = 0 ] || fail 'no Docker engine answers' 'Start one, or run this as root.'
    echo 'starting dockerd' >&2
    engine_log=$(mktemp)
    # overlay2 cannot lie on every file system; vfs is slow and always works.
    start_engine || start_engine --storage-driver vfs || {
        tail -n 30 "$engine_log" >&2
        fail 'the Docker engine does not start; the end of its log is above'
    }
}

# start_engine [OPTION...]: true once dockerd answers.
start_engine() {
    # In a session of its own, so that Ctrl-C does not end it before the
    # containers are removed. With a pid file of its own: the usual one may be
    # left from an engine that was killed.
    setsid dockerd --pidfile "$engine_log.pid" "$@" </dev/null >"$engine_log" 2>&1 &
    engine_pid=$!
    local try
    for ((try = 0; try < 300; try++)); do
        ! engine_answers || return 0
        kill -0 "$engine_pid" 2>/dev/null || break
        sleep 0.1
    done
    stop_engine
    return 1
}

stop_engine() {
    [ -n "$engine_pid" ] || return 0
    kill "$engine_pid" 2>/dev/null || true
    wait "$engine_pid" 2>/dev/null || true
    engine_pid=''
}
