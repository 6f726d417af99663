#!/bin/sh
# Exit code 0 where this user may mount an ext4 of its own making on a loop device, as some tests do.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
truncate -s 4M "$folder/image"
mkfs.ext4 -q -F "$folder/image"
unshare --mount mount -o loop "$folder/image" "$folder" 2>/dev/null
