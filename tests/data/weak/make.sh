#!/bin/bash
# Makes the certificates of this directory anew: what no CA of today issues and no library of Rust
# signs. Keys that sign are thrown away. All of it expires in 2126.
set -euo pipefail
cd "$(dirname "$0")"
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT

days=36500
root() { # NAME BITS
    openssl req -x509 -newkey "rsa:$2" -nodes -keyout "$temp/$1.key" -out "$1.pem" -sha256 \
        -days $days -subj "/CN=Weak $1" 2>/dev/null
}
leaf() { # NAME BITS DIGEST ISSUER [EXTENSION...]
    local name=$1 bits=$2 digest=$3 issuer=$4
    shift 4
    printf '%s\n' "subjectAltName=critical,DNS:shop.rare-books.test" extendedKeyUsage=serverAuth "$@" \
        >"$temp/$name.ext"
    openssl req -newkey "rsa:$bits" -nodes -keyout "$temp/$name.key" -out "$temp/$name.csr" \
        -subj / 2>/dev/null
    openssl x509 -req -in "$temp/$name.csr" -CA "$issuer.pem" -CAkey "$temp/$issuer.key" \
        -CAcreateserial -CAserial "$temp/serial" -out "$name.pem" -days $days "-$digest" \
        -extfile "$temp/$name.ext" 2>/dev/null
}
root root 2048
# Another of the name of the root in tests/command/verdicts.rs.
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$temp/root-sha1.key" -out root-sha1.pem -sha1 \
    -days $days -subj "/CN=Trusted Root" 2>/dev/null
leaf short-key 1024 sha256 root
leaf sha1 2048 sha1 root
leaf md5 2048 md5 root
root root-1024 1024
leaf below-root-1024 2048 sha256 root-1024
leaf below-root-sha1 2048 sha256 root-sha1
leaf must-staple 2048 sha256 root tlsfeature=status_request
