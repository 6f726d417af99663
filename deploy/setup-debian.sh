#!/bin/bash
# Installs what Tarsier needs on Debian 12, only what is missing; where all is there, nothing touches the network.
#
#   deploy/setup-debian.sh build    to build and run it
#   deploy/setup-debian.sh demo     and to draw the demo's clip
#   deploy/setup-debian.sh test     and for the tests: an RTSP server, the ffmpeg command line, an OpenCV to compare with, schemathesis
#   deploy/setup-debian.sh list GROUP   prints the packages of a group and installs nothing
set -euo pipefail
cd "$(dirname "$0")/.."

# A C compiler to link with, FFmpeg's headers, the four OpenCV modules (Debian's package of objdetect's headers brings
# 90 others that are not linked), and clang to read C and C++ headers with.
build=(
    gcc g++ libc6-dev pkgconf ca-certificates
    clang libclang-dev
    libavcodec-dev libavformat-dev libavutil-dev libswscale-dev
    libopencv-core-dev libopencv-imgproc-dev libopencv-dnn-dev libopencv-objdetect-dev
)
demo=(ffmpeg)
# The RTSP server of the tests, systemd-analyze, a browser, mkfs.ext4, a client and certificates for TLS, and a Python
# for the reference detector.
test=(
    python3 python3-gi python3-venv
    gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
    systemd chromium e2fsprogs curl openssl
)
# The version that Debian 12 has, as a wheel: Debian's own python3-opencv brings 200 MB of other things.
reference=(opencv-python-headless==4.6.0.66 numpy==1.26.4)
# It makes requests of the API's document, and hypothesis makes what is in them.
contract=(schemathesis==4.32.5 hypothesis==6.170.17)

packages_of() {
    case "$1" in
        build) echo "${build[@]}" ;;
        demo) echo "${build[@]}" "${demo[@]}" ;;
        test) echo "${build[@]}" "${demo[@]}" "${test[@]}" ;;
        *)
            echo "usage: deploy/setup-debian.sh build|demo|test" >&2
            exit 2
            ;;
    esac
}

if [ "${1:-}" = list ]; then
    packages_of "${2:-}" | tr ' ' '\n'
    exit
fi
group="${1:-}"
wanted=$(packages_of "$group")

missing=()
for package in $wanted; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "installing: ${missing[*]}"
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    export DEBIAN_FRONTEND=noninteractive
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}"
fi

if ! command -v cargo >/dev/null; then
    echo "cargo is not there: install Rust first (https://rustup.rs)" >&2
    exit 1
fi

# A Python environment of the tests: its name beside the build, what must be importable, its packages.
make_venv() {
    local venv="${CARGO_TARGET_DIR:-target}/$1" imports=$2
    shift 2
    if ! "$venv/bin/python" -c "import $imports" 2>/dev/null; then
        echo "making $venv: $*"
        rm -rf "$venv"
        /usr/bin/python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"
        "$venv/bin/python" -c "import $imports"
    fi
}

if [ "$group" = test ]; then
    make_venv opencv-reference "cv2, numpy" "${reference[@]}"
    make_venv schemathesis schemathesis "${contract[@]}"
fi
