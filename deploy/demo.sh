#!/bin/bash
# Runs Tarsier on a demo camera that needs no hardware: a clip drawn here, looped in real time.
# Everything happens in a scratch folder; Ctrl-C ends it with its recordings closed.
#
#   deploy/demo.sh TARSIER [FOLDER]
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
tarsier=$(realpath "$1")
folder="${2:-$repository/target/demo}"

mkdir -p "$folder/config.d"
cp -Ru "$repository/config.d/." "$folder/config.d/"
clip="$folder/demo.mp4"
[ -s "$clip" ] || "$repository/deploy/demo-clip.sh" "$clip"

# Somebody else has the usual port: the system picks another.
if [ ! -e "$folder/tarsier.yaml" ] && (exec 3<>/dev/tcp/127.0.0.1/8787) 2>/dev/null; then
    echo 'web: { listen: "127.0.0.1:0" }' >"$folder/tarsier.yaml"
fi

cd "$folder"
echo "The demo runs in $folder; its web server is the one the log names. Ctrl-C ends it."
echo "Motion comes 8 s after the start and every 40 s; a recording is whole about 15 s after its motion."
exec "$tarsier" run
