#!/bin/sh
# Makes the keys and roots of this folder with OpenSSL 3. They are for tests
# alone: the whole world has them. The tests do not run this script.
set -eu
cd "$(dirname "$0")"

# root NAME KEY SUBJECT [STRING_MASK] [OPTION...]: a self-signed root of 100 years
root() {
    name=$1 key=$2 subject=$3 mask=${4:-utf8only} identifier=${5:-hash}
    cat > config.tmp <<CONFIG
[req]
distinguished_name = dn
prompt = no
utf8 = yes
string_mask = $mask
x509_extensions = ext
[dn]
$subject
[ext]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = $identifier
subjectAltName = URI:spiffe://demo
CONFIG
    openssl req -x509 -new -key "$key" -days 36500 -sha256 -config config.tmp -out "$name.crt"
    rm config.tmp
}

openssl genrsa -traditional -out rsa2048.pkcs1 2048
openssl genrsa -out rsa4096.pkcs8 4096
openssl genrsa -out rsa1024.pkcs8 1024
openssl pkcs8 -topk8 -nocrypt -in rsa2048.pkcs1 -out rsa2048.pkcs8
openssl rsa -traditional -in rsa4096.pkcs8 -out rsa4096.pkcs1
openssl rsa -traditional -in rsa1024.pkcs8 -out rsa1024.pkcs1

for curve in prime256v1 secp384r1 secp521r1; do
    case $curve in prime256v1) name=p256 ;; secp384r1) name=p384 ;; *) name=p521 ;; esac
    # `ecparam -genkey` writes an EC PARAMETERS block before the key.
    openssl ecparam -name $curve -genkey -out $name.sec1-parameters
    openssl ec -in $name.sec1-parameters -out $name.sec1
    openssl ec -in $name.sec1 -no_public -out $name.sec1-no-public
    openssl pkcs8 -topk8 -nocrypt -in $name.sec1 -out $name.pkcs8
    openssl pkcs8 -topk8 -nocrypt -in $name.sec1-no-public -out $name.pkcs8-no-public
done

openssl genpkey -algorithm ed25519 -out ed25519.pkcs8
# OpenSSL does not write version 2 (RFC 5958), which holds the public key too.
python3 - <<'PYTHON'
import base64, subprocess
der = lambda *args: subprocess.run(["openssl", "pkey", "-in", "ed25519.pkcs8", "-outform", "DER", *args],
                                   check=True, capture_output=True).stdout
seed, public = der()[-32:], der("-pubout")[-32:]
for name, attribute in [("pkcs8-v2", b"\x81\x21\x00" + public), ("pkcs8-v2-explicit", b"\xa1\x23\x03\x21\x00" + public)]:
    body = b"\x02\x01\x01\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20" + seed + attribute
    text = base64.encodebytes(bytes([0x30, len(body)]) + body).decode().replace("\n", "")
    lines = "\n".join(text[i:i + 64] for i in range(0, len(text), 64))
    open("ed25519." + name, "w").write(f"-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----\n")
PYTHON

openssl pkcs8 -topk8 -in p256.sec1 -passout pass:test -out encrypted.pkcs8
openssl ec -in p256.sec1 -aes128 -passout pass:test -out encrypted.sec1
openssl rsa -traditional -in rsa2048.pkcs1 -aes128 -passout pass:test -out encrypted.pkcs1
openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out rsa-pss.pkcs8

root rsa2048 rsa2048.pkcs1 "CN = rsa2048"
root rsa4096 rsa4096.pkcs1 "CN = rsa4096"
root rsa1024 rsa1024.pkcs1 "CN = rsa1024"
root p256 p256.sec1 "CN = p256"
root p384 p384.sec1 "CN = p384"
root p521 p521.sec1 "CN = p521"
root ed25519 ed25519.pkcs8 "CN = ed25519"
root rsa-pss rsa-pss.pkcs8 "CN = rsa-pss"

# Names that a program which re-encodes them gets wrong, all with the key `p256`.
root name-printable p256.sec1 "C = DE
O = Acme, Inc.
CN = root" default
root name-t61 p256.sec1 "O = Bücher
CN = root" default
root name-bmp p256.sec1 "O = 日本
CN = root" default
root name-multi-valued p256.sec1 "O = Acme
+OU = Mesh
CN = root"
root name-long p256.sec1 "O = $(printf 'o%.0s' $(seq 64))
0.OU = $(printf 'p%.0s' $(seq 64))
1.OU = $(printf 'q%.0s' $(seq 64))
CN = $(printf 'r%.0s' $(seq 64))"
root no-identifier p256.sec1 "CN = root" utf8only none
openssl req -x509 -new -key p256.sec1 -days 36500 -subj / -out name-empty.crt \
    -addext "keyUsage = critical, keyCertSign"
