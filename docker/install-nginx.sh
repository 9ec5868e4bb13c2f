#!/bin/sh
# Installs nginx from a signed source.
#
#   install-nginx.sh debian                          the package of the image's own Debian
#   install-nginx.sh PACKAGES KEY FINGERPRINTS       from another repository, if its key file holds no other keys
set -eu
export DEBIAN_FRONTEND=noninteractive

packages=${1:?usage: install-nginx.sh debian | PACKAGES KEY FINGERPRINTS}
install() {
    apt-get install -q -y --no-install-recommends "$@"
}

apt-get update -q
if [ "$packages" != debian ]; then
    key=${2:?the address of the key} fingerprints=${3:?the fingerprints that are expected}
    install ca-certificates gpg
    home=$(mktemp -d)
    # apt's own downloader: neither curl nor wget need be there.
    /usr/lib/apt/apt-helper download-file "$key" "$home/key"
    found=$(gpg --homedir "$home" --batch --with-colons --show-keys "$home/key" |
        awk -F : '$1 == "pub" { primary = 1 } $1 == "fpr" && primary { print $10; primary = 0 }')
    if [ -z "$found" ]; then
        echo "install-nginx.sh: there is no key in $key" >&2
        exit 1
    fi
    for one in $found; do
        case " $fingerprints " in
            *" $one "*) ;;
            *)
                echo "install-nginx.sh: $key holds the key $one, which is not expected" >&2
                exit 1
                ;;
        esac
    done
    gpg --homedir "$home" --batch --dearmor <"$home/key" >/usr/share/keyrings/nginx.gpg
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    echo "deb [signed-by=/usr/share/keyrings/nginx.gpg] $packages $codename nginx" >/etc/apt/sources.list.d/nginx.list
    # Debian has an nginx too; the one that was asked for wins, whatever its number.
    printf 'Package: nginx*\nPin: release o=nginx\nPin-Priority: 900\n' >/etc/apt/preferences.d/nginx
    apt-get update -q
    rm -rf "$home"
fi
install nginx
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old

# The first thing nginx does is to open this file, before it has read where it really should log to.
mkdir -p /var/log/nginx
ln -sf /dev/stderr /var/log/nginx/error.log
