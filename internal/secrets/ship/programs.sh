#!/bin/sh
# sh internal/secrets/ship/programs.sh [FOLDER]: builds what decrypts secrets on hosts, for each
# of their architectures, into FOLDER: by default where a build of godwit takes it up.
set -eu
cd "$(dirname "$0")"
out=${1:-$PWD/programs}
for arch in amd64 arm64; do
	CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -trimpath -buildvcs=false -ldflags '-s -w -buildid=' -o "$out/godwit-secrets-linux-$arch" ../../../cmd/godwit-secrets
done
