#!/bin/bash
# Makes the certificates of this directory anew: signatures and keys that no library of Rust makes, and
# that browsers refuse, but for those called usual. Keys are thrown away. All of it expires in 2126.
set -euo pipefail
cd "$(dirname "$0")"
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT

days=36500
authority="basicConstraints=critical,CA:TRUE"
root() { # NAME KIND...
    local name=$1
    shift
    openssl genpkey "$@" -out "$temp/$name.key" 2>/dev/null
    openssl req -x509 -key "$temp/$name.key" -out "$name.pem" -sha256 -days $days \
        -subj "/CN=Unusual $name" 2>/dev/null
}
signed() { # OUT SUBJECT KEY ISSUER EXTENSIONS OPTION...
    local out=$1 subject=$2 key=$3 issuer=$4 extensions=$5
    shift 5
    printf '%b\n' "$extensions" >"$temp/ext"
    openssl req -new -key "$temp/$key.key" -out "$temp/csr" -subj "$subject" 2>/dev/null
    openssl x509 -req -in "$temp/csr" -CA "$issuer.pem" -CAkey "$temp/$issuer.key" -CAcreateserial \
        -CAserial "$temp/serial" -out "$out" -days $days -extfile "$temp/ext" "$@" 2>/dev/null
}
leaf() { # NAME ISSUER OPTION...
    local name=$1 issuer=$2
    shift 2
    signed "$name.pem" / leaf "$issuer" \
        "subjectAltName=critical,DNS:shop.rare-books.test\nextendedKeyUsage=serverAuth" "$@"
}
below() { # NAME SALT KIND...
    local name=$1 salt=$2
    shift 2
    openssl genpkey "$@" -out "$temp/$name.key" 2>/dev/null
    signed "$temp/$name.pem" "/CN=Unusual $name" "$name" root-rsa "$authority" -sha256
    cp "$temp/$name.pem" "$name.pem"
    leaf "$name-leaf" "$name" -sha256 ${salt:+-sigopt "rsa_pss_saltlen:$salt"}
    cat "$name-leaf.pem" "$temp/$name.pem" >"$name.pem"
    rm "$name-leaf.pem"
}
p256=(-algorithm EC -pkeyopt ec_paramgen_curve:P-256)
pss=(-sigopt rsa_padding_mode:pss)
openssl genpkey "${p256[@]}" -out "$temp/leaf.key" 2>/dev/null
root root-rsa -algorithm RSA -pkeyopt rsa_keygen_bits:2048
root root-ec "${p256[@]}"
root root-secp256k1 -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1
leaf ecdsa-sha224 root-ec -sha224
leaf ecdsa-sha3 root-ec -sha3-256
leaf usual-ecdsa-sha512 root-ec -sha512
leaf rsa-sha224 root-rsa -sha224
leaf rsa-sha3 root-rsa -sha3-256
leaf rsa-sha512-256 root-rsa -sha512-256
leaf pss-salt root-rsa -sha256 "${pss[@]}" -sigopt rsa_pss_saltlen:20
leaf pss-mask root-rsa -sha256 "${pss[@]}" -sigopt rsa_pss_saltlen:32 -sigopt rsa_mgf1_md:sha512
leaf pss-sha1 root-rsa -sha1 "${pss[@]}" -sigopt rsa_pss_saltlen:20
leaf usual-pss root-rsa -sha256 "${pss[@]}" -sigopt rsa_pss_saltlen:32
leaf below-secp256k1 root-secp256k1 -sha256
below secp256k1 '' -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1
below pss-key 32 -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048
below large-key '' -algorithm RSA -pkeyopt rsa_keygen_bits:8200
