#!/bin/bash
# Draws the demo's scene with ffmpeg: a house at dusk, 40 s that begin and end alike. Somebody walks by from
# second 8 to 14; the rest is still, but for a lamp that is lit and the grain of a camera.
#
#   deploy/demo-clip.sh FILE.mp4
set -euo pipefail
part="${1%.mp4}.part.mp4"
fps=15 seconds=40

sky="gradients=s=1280x720:r=$fps:d=$seconds:c0=0x27374f:c1=0xc98a5e:x0=0:y0=0:x1=0:y1=520:n=2:speed=0.00001"
walker="color=c=black@0:s=90x250:r=$fps:d=$seconds,format=yuva420p"

# The walker's legs swing: two boxes whose x follows the time.
filters="
[0:v]
drawbox=x=0:y=500:w=1280:h=220:c=0x3b4a3a:t=fill,
drawbox=x=0:y=590:w=1280:h=70:c=0x6b6660:t=fill,
drawbox=x=640:y=230:w=440:h=290:c=0x7a5c4d:t=fill,
drawbox=x=610:y=200:w=500:h=36:c=0x402f2a:t=fill,
drawbox=x=820:y=350:w=90:h=170:c=0x33251f:t=fill,
drawbox=x=690:y=300:w=90:h=90:c=0xe8c878:t=fill,
drawbox=x=733:y=300:w=4:h=90:c=0x402f2a:t=fill,
drawbox=x=690:y=343:w=90:h=4:c=0x402f2a:t=fill,
drawbox=x=960:y=300:w=80:h=90:c=0x1d2430:t=fill,
drawbox=x=180:y=270:w=12:h=300:c=0x22201e:t=fill,
drawbox=x=160:y=250:w=52:h=26:c=0xf6e7b0:t=fill,
drawbox=x=300:y=460:w=200:h=60:c=0x2c3b2b:t=fill[scene];
[1:v]
drawbox=x=27:y=0:w=36:h=40:c=0xd8a888@1:t=fill:replace=1,
drawbox=x=15:y=44:w=60:h=110:c=0x9c3b34@1:t=fill:replace=1,
drawbox=x='24-18*sin(6*t)':y=154:w=20:h=96:c=0x20283a@1:t=fill:replace=1,
drawbox=x='46+18*sin(6*t)':y=154:w=20:h=96:c=0x2a3550@1:t=fill:replace=1[walker];
[scene][walker]overlay=x='-120+(t-8)*240':y='380+4*sin(12*t)':enable='between(t,8,14)',
noise=alls=3:allf=t,format=yuv420p[out]"

ffmpeg -nostdin -v error -y -f lavfi -i "$sky" -f lavfi -i "$walker" -filter_complex "$filters" -map '[out]' \
    -t "$seconds" -c:v libx264 -preset veryfast -crf 24 -g $((fps * 2)) -bf 0 -movflags +faststart "$part"
mv "$part" "$1"
