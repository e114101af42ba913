#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Usage: certificates.sh DIRECTORY
#
# Makes what TLS tests need, in a new directory. Each folder is what one party has, under the names
# that QEMU's tools and libnbd's look for:
#   server/      ca-cert.pem server-cert.pem server-key.pem; for localhost, 127.0.0.1 and ::1
#   server-crl/  the same, and ca-crl.pem, which revokes client-revoked
#   server-crl-old/  the same, but that list has been out of date since 2020
#   server-expired/  its certificate is out of date
#   client/      ca-cert.pem client-cert.pem client-key.pem
#   client-revoked/ client-expired/ client-early/   the same, with such a certificate
#   client-purpose/  its certificate is a server's, by the right CA
#   client-stranger/ its certificate is of another CA; it trusts ours
#   client-none/     ca-cert.pem only
#   client-wrong-ca/ trusts another CA
#   psk              keys of alice and bob, as psktool writes them; psk-mallory: another for alice
set -euo pipefail
mkdir "$1"
cd "$1"
exec 3>&2 2>certtool.log
trap 'cat certtool.log >&3' ERR

key() { # FILE
    certtool --generate-privkey --key-type ecdsa --curve secp256r1 --no-text --outfile "$1"
    chmod 600 "$1"
}

authority() { # NAME
    key "$1-key.pem"
    printf '%s\n' "cn = \"$1\"" ca cert_signing_key crl_signing_key 'expiration_days = 30' >template
    certtool --generate-self-signed --load-privkey "$1-key.pem" --template template --no-text \
        --outfile "$1-cert.pem"
}

issue() { # AUTHORITY DIRECTORY server|client PURPOSE LINE...
    local authority=$1 directory=$2 role=$3 purpose=$4
    shift 4
    mkdir -p "$directory"
    cp ca-cert.pem "$directory/ca-cert.pem"
    key "$directory/$role-key.pem"
    printf '%s\n' "cn = \"$directory\"" 'dns_name = "localhost"' 'ip_address = "127.0.0.1"' \
        'ip_address = "::1"' signing_key "$purpose" "$@" >template
    certtool --generate-certificate --load-ca-privkey "$authority-key.pem" \
        --load-ca-certificate "$authority-cert.pem" --load-privkey "$directory/$role-key.pem" \
        --template template --no-text --outfile "$directory/$role-cert.pem"
}

valid='expiration_days = 30'
past=('activation_date = "2020-01-01 00:00:00"' 'expiration_date = "2020-02-01 00:00:00"')
future=('activation_date = "2098-01-01 00:00:00"' 'expiration_date = "2098-02-01 00:00:00"')
authority ca
authority other
issue ca server server tls_www_server "$valid"
issue ca server-expired server tls_www_server "${past[@]}"
issue ca client client tls_www_client "$valid"
issue ca client-revoked client tls_www_client "$valid"
issue ca client-expired client tls_www_client "${past[@]}"
issue ca client-early client tls_www_client "${future[@]}"
issue ca client-purpose client tls_www_server "$valid"
issue other client-stranger client tls_www_client "$valid"
mkdir client-none client-wrong-ca
cp ca-cert.pem client-none/
cp other-cert.pem client-wrong-ca/ca-cert.pem
revoke() { # DIRECTORY LINE...
    cp -r server "$1"
    printf '%s\n' 'crl_number = 1' "${@:2}" >template
    certtool --generate-crl --load-ca-privkey ca-key.pem --load-ca-certificate ca-cert.pem \
        --load-certificate client-revoked/client-cert.pem --template template --no-text \
        --outfile "$1/ca-crl.pem"
}
revoke server-crl 'crl_next_update = 30'
revoke server-crl-old 'crl_this_update_date = "2020-01-01 00:00:00"' \
    'crl_next_update_date = "2020-02-01 00:00:00"'
for file in psk psk-mallory; do
    psktool --username alice --pskfile "$file"
done
psktool --username bob --pskfile psk
chmod 600 psk psk-mallory
