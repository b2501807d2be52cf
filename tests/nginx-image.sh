#!/bin/sh
# Builds a small nginx image from this machine's own nginx, for machines that
# reach no image registry, and prints its name as the last line.
#
#   tests/nginx-image.sh [TAG]
#
# CERTD_TEST_NGINX_IMAGE names an image to use instead (nginx:alpine, say);
# then nothing is built.
set -eu

tag=${1:-certd-nginx-test:local}
label=certd.test.nginx

if [ -n "${CERTD_TEST_NGINX_IMAGE:-}" ]; then
    echo "$CERTD_TEST_NGINX_IMAGE"
    exit 0
fi

# Users other than root often lack sbin, where Debian puts nginx.
PATH=$PATH:/usr/sbin:/sbin
for tool in docker nginx ldd tar sha256sum; do
    command -v "$tool" >/dev/null || {
        echo "nginx-image.sh: $tool is not installed" >&2
        exit 1
    }
done

# `nginx -V` names the OpenSSL that it runs with too, so an upgrade of either
# builds the image anew.
hash=$({ cat "$0"; nginx -V 2>&1; } | sha256sum | cut -c1-16)
built=$(docker image inspect --format "{{ index .Config.Labels \"$label\" }}" "$tag" 2>/dev/null) || built=
if [ "$built" = "$hash" ]; then
    echo "$tag"
    exit 0
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
chmod 755 "$root"

# The links of a merged /usr come first: ldd names its files by /lib.
for dir in bin sbin lib lib64; do
    mkdir -p "$root/usr/$dir"
    ln -s "usr/$dir" "$root/$dir"
done

# copy FILE: puts it, without its symlinks, at the same place in the image.
copy() {
    mkdir -p "$root$(dirname "$1")"
    cp -L "$1" "$root$1"
}

# Where nginx finds these tools decides nothing, so all go to the directory
# that they have here; ldd prints the loader without an arrow.
for tool in nginx cat id ls sh sleep; do
    file=$(command -v "$tool")
    copy "$file"
    ldd "$file" | sed -n 's/^[^/]*\(\/[^ ]*\).*/\1/p' | while read -r library; do
        [ -e "$root$library" ] || copy "$library"
    done
done

mkdir -p "$root/etc/nginx/conf.d" "$root/var/lib/nginx" "$root/var/log/nginx" \
    "$root/var/cache/nginx" "$root/var/lock" "$root/run" "$root/tmp" \
    "$root/usr/share/nginx" "$root/dev" "$root/proc" "$root/sys"
ln -s ../run "$root/var/run"
[ ! -e /etc/nginx/mime.types ] || copy /etc/nginx/mime.types

cat >"$root/etc/passwd" <<'PASSWD'
root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
nginx:x:101:101:nginx:/nonexistent:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
PASSWD
cat >"$root/etc/group" <<'GROUP'
root:x:0:
www-data:x:33:
nginx:x:101:
nogroup:x:65534:
GROUP
cat >"$root/etc/nginx/nginx.conf" <<'CONF'
events {}
http {
    access_log off;
    server {
        listen 80;
        return 404;
    }
}
CONF

# An nginx whose default is a log file logs to the container's stderr as well.
ln -s /dev/stdout "$root/var/log/nginx/access.log"
ln -s /dev/stderr "$root/var/log/nginx/error.log"

# Writable for every user, because the archive gives everything to root and
# the tests run nginx as uid 101 as well.
chmod 1777 "$root/tmp" "$root/run" "$root/var/lock" "$root/var/log/nginx" \
    "$root/var/lib/nginx" "$root/var/cache/nginx"

tar -C "$root" --owner=0 --group=0 --numeric-owner -c . | docker import \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'CMD ["nginx", "-g", "daemon off;"]' \
    --change 'EXPOSE 80 443' \
    --change "LABEL $label=$hash" \
    - "$tag" >/dev/null
echo "$tag"
