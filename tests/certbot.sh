#!/bin/sh
# Installs certbot from PyPI below target/, where later runs find it without a
# network, and prints its path as the last line.
#
#   tests/certbot.sh
#
# tests/certbot.txt pins what certbot needs.
#
# CERTD_TEST_CERTBOT names one to use instead; then nothing is installed.
set -eu

version=5.8.0

if [ -n "${CERTD_TEST_CERTBOT:-}" ]; then
    echo "$CERTD_TEST_CERTBOT"
    exit 0
fi

cd "$(dirname "$0")/.."
home=$PWD/target/certbot-$version
# It is run rather than looked for: an installation that was cut short or moved,
# or whose Python was upgraded, is there and does not start.
if ! "$home/bin/certbot" --version 2>/dev/null | grep -qxF "certbot $version"; then
    echo "installing certbot $version" >&2
    python3 -m venv --clear "$home"
    "$home/bin/pip" install --quiet --disable-pip-version-check \
        --constraint tests/certbot.txt "certbot==$version" >&2
fi
echo "$home/bin/certbot"
