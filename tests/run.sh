#!/bin/bash
# Runs every test of certd, the live suite included: on Debian as root it
# installs what is missing, starts a Docker engine if none answers, builds the
# nginx image and calls `cargo test`. Arguments go to cargo test.
# Other ACME clients are lego, from Debian, and certbot, from PyPI.
#
#   tests/run.sh [ARGUMENT...]
#
# CERTD_TEST_NGINX_IMAGE names an image to use instead (nginx:alpine, say),
# CERTD_TEST_CERTBOT another certbot.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/machine.sh

tests_pid='' temp=''

# shellcheck disable=SC2317 # called by the trap
clean() {
    trap '' INT TERM
    if [ -n "$tests_pid" ]; then
        # The group holds cargo, the tests and every server that they started.
        kill -TERM -- "-$tests_pid" 2>/dev/null || true
        wait "$tests_pid" 2>/dev/null || true
    fi
    # A test that was killed could not remove its containers, volumes and files.
    if [ -n "${CERTD_TEST_RUN:-}" ]; then
        local mine="label=certd.test.run=$CERTD_TEST_RUN"
        docker ps --all --quiet --filter "$mine" | xargs -r docker rm --force --volumes >/dev/null
        docker volume ls --quiet --filter "$mine" | xargs -r docker volume rm >/dev/null
        docker network ls --quiet --filter "$mine" | xargs -r docker network rm >/dev/null
    fi
    [ -z "$temp" ] || rm -rf "$temp"
    release_machine
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

command -v cargo >/dev/null || fail 'cargo is not installed' 'Rust comes from https://rustup.rs.'
command -v lego >/dev/null || extra+=(lego)
command -v xmllint >/dev/null || extra+=(libxml2-utils)
command -v systemd-analyze >/dev/null || extra+=(systemd)
# Without ensurepip Debian's Python makes no environment that certbot could be put into.
[ -n "${CERTD_TEST_CERTBOT:-}" ] || python3 -c 'import ensurepip' 2>/dev/null ||
    extra+=(python3-venv)
prepare_machine

CERTD_TEST_CERTBOT=$(tests/certbot.sh | tail -n 1)
CERTD_TEST_NGINX_IMAGE=$(tests/nginx-image.sh | tail -n 1)
CERTD_TEST_RUN=$(od -An -N6 -tx1 /dev/urandom | tr -d ' \n')
temp=$(mktemp -d)
# One of the tests becomes nobody, who must find its way to what it may read.
chmod 755 "$temp"
export CERTD_LIVE=1 CERTD_TEST_CERTBOT CERTD_TEST_NGINX_IMAGE CERTD_TEST_RUN TMPDIR="$temp"

# Most of them wait for servers and clocks longer than they compute.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}

# Job control gives the tests a process group, which `clean` can end as one.
set -m
cargo test --locked "$@" &
tests_pid=$!
set +m
status=0
wait "$tests_pid" || status=$?
tests_pid=''
exit "$status"
