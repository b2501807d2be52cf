#!/bin/bash
# Shows certd at work on one machine: a test CA (Pebble), nginx in a container,
# two domains. Everything listens on loopback and is gone afterwards.
#
#   examples/pebble/run.sh [--keep]
#
# --keep leaves it up until Ctrl-C. CERTD names a certd to run instead of the
# one of this checkout, CERTD_TEST_NGINX_IMAGE an image with nginx.
set -euo pipefail

example=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$example/../.." && pwd)
. "$checkout/tests/machine.sh"

case "$*" in
'') keep='' ;;
--keep) keep=yes ;;
*) fail 'usage: run.sh [--keep]' ;;
esac

work='' container='' pids=()

# shellcheck disable=SC2317 # called by the trap
clean() {
    trap '' INT TERM
    [ -z "$container" ] || docker rm --force "$container" >/dev/null 2>&1 || true
    local pid
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    [ -z "$work" ] || rm -rf "$work"
    release_machine
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n== %s\n' "$*"; }

closed() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# wait_for LOG COMMAND...: until the command succeeds; shows LOG when it does not.
wait_for() {
    local try
    for ((try = 0; try < 200; try++)); do
        ! "${@:2}" >/dev/null 2>&1 || return 0
        sleep 0.05
    done
    cat "$1" >&2
    fail "no success within 10 s: ${*:2}"
}

if [ -n "${CERTD:-}" ]; then
    read -ra certd <<<"$CERTD"
    # It is started from another directory than this one.
    [ ! -e "${certd[0]}" ] || certd[0]=$(realpath "${certd[0]}")
else
    command -v cargo >/dev/null || fail 'cargo is not installed' 'Rust comes from https://rustup.rs.'
    say 'Building certd (the first time this takes a few minutes)'
    manifest=(--manifest-path "$checkout/Cargo.toml" --release --locked --quiet)
    cargo build "${manifest[@]}"
    certd=(cargo run "${manifest[@]}" --)
fi

say 'Starting DNS, a test CA and nginx'
prepare_machine
image=$("$checkout/tests/nginx-image.sh" | tail -n 1)
work=$(mktemp -d)
cd "$work"
mkdir conf webroot storage state

# Below the range that the kernel gives to outgoing connections.
mapfile -t ports < <(shuf -i 20000-31999 | while read -r port; do
    ! closed "$port" || echo "$port"
done | head -n 6)
dns=${ports[0]} dns_api=${ports[1]} acme=${ports[2]} acme_api=${ports[3]}
http=${ports[4]} https=${ports[5]}

# Every name leads here.
pebble-challtestsrv -dns01 "127.0.0.1:$dns" -management "127.0.0.1:$dns_api" \
    -defaultIPv4 127.0.0.1 -defaultIPv6 '' -http01 '' -https01 '' -tlsalpn01 '' \
    >dns.log 2>&1 &
pids+=($!)

# An ACME server is reached over HTTPS: a certificate for it, under a CA that
# domains.toml will name as `trust`.
ec=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
{
    openssl req -x509 "${ec[@]}" -keyout api-ca.key -out api-ca.pem -days 2 -subj '/CN=Example API CA'
    openssl req "${ec[@]}" -keyout api.key -out api.csr -subj '/CN=localhost'
    printf 'subjectAltName = DNS:localhost, IP:127.0.0.1\n' >api.ext
    openssl x509 -req -in api.csr -CA api-ca.pem -CAkey api-ca.key -extfile api.ext -days 2 -out api.pem
} 2>openssl.log || { cat openssl.log >&2; fail 'openssl made no certificate for the test CA'; }
cat >pebble.json <<JSON
{"pebble": {
    "listenAddress": "127.0.0.1:$acme",
    "managementListenAddress": "127.0.0.1:$acme_api",
    "certificate": "api.pem",
    "privateKey": "api.key",
    "httpPort": $http,
    "tlsPort": $https
}}
JSON
PEBBLE_VA_NOSLEEP=1 pebble -strict -config pebble.json -dnsserver "127.0.0.1:$dns" \
    >pebble.log 2>&1 &
pids+=($!)

# Directories are mounted, not files: nginx sees what changes in them.
cp "$example/nginx/nginx.conf" conf/
container=certd-example-$$
docker run --detach --name "$container" \
    --publish "127.0.0.1:$http:80" --publish "127.0.0.1:$https:443" \
    --volume "$work/conf:/etc/nginx:ro" \
    --volume "$work/storage:/etc/letsencrypt:ro" \
    --volume "$work/webroot:/var/www/certbot:ro" \
    "$image" >docker.log
wait_for docker.log curl --silent --noproxy '*' "http://127.0.0.1:$http/"
# The root of the certificates that this Pebble issues; it has a new one each time.
wait_for pebble.log curl --silent --fail --noproxy '*' --cacert api-ca.pem \
    --output root.pem "https://localhost:$acme_api/roots/0"

cat >domains.toml <<TOML
email = "admin@example.com"
terms_of_service_agreed = true
issuer = "pebble"
webroot = "webroot"
storage = "storage"
state = "state"

[issuers.pebble]
directory = "https://localhost:$acme/dir"
trust = "api-ca.pem"

[dns]
servers = ["127.0.0.1:$dns"]

# Where this CA looks, instead of at ports 80 and 443.
[preflight]
http_port = $http
https_port = $https

[nginx]
container = "$container"

[verify]
trust = ["root.pem"]

[[domain]]
name = "rare-books.test"
aliases = ["www.rare-books.test"]
connect = "127.0.0.1:$https"

[[domain]]
name = "messenger.rare-books.test"
connect = "127.0.0.1:$https"
TOML
say 'domains.toml'
cat domains.toml
# root takes no domains.toml from the directory that it happens to be in.
export CERTD_CONFIG=$PWD/domains.toml

# From now on `nginx -t` fails, because these name certificates that are still
# to come; the running nginx does not know about them.
cp -r "$example/nginx/sites" conf/

say 'certd obtain --all'
started=$(date +%s%N)
"${certd[@]}" obtain --all
took=$((($(date +%s%N) - started) / 1000000))
printf '\ncertd took %d.%03d s\n' $((took / 1000)) $((took % 1000))

say 'certd verify'
"${certd[@]}" verify rare-books.test messenger.rare-books.test

say 'What openssl sees'
for name in rare-books.test www.rare-books.test messenger.rare-books.test; do
    echo "$name:"
    openssl s_client -connect "127.0.0.1:$https" -servername "$name" \
        -CAfile root.pem -verify_hostname "$name" -verify_return_error \
        </dev/null >served.log 2>&1 || { cat served.log >&2; fail "$name is not served as it should be"; }
    openssl x509 -noout -subject -ext subjectAltName -enddate -in served.log | sed 's/^ */    /'
done

if [ -n "$keep" ]; then
    say 'It stays up until Ctrl-C'
    cat <<KEEP
    cd $work
    export CERTD_CONFIG=$work/domains.toml
    ${certd[*]} status
    curl --cacert root.pem --resolve rare-books.test:$https:127.0.0.1 https://rare-books.test:$https/
    docker exec $container nginx -T
    tail -f pebble.log
KEEP
    # `wait` ends at once with a signal, a sleep in the foreground would not.
    sleep infinity &
    pids+=($!)
    wait $!
fi
