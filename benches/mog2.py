"""Motion as OpenCV's MOG2 sees it in a clip, with its presets: for `make quality`, beside Tarsier's own detectors.

Prints JSON: `looks`, a pair of seconds and whether there is motion for each picture, and `cpu_s`, what looking took.
"""

import json
import sys
import time

import cv2

WIDTH = 320
# A shadow is marked with less.
MOVING = 255
LEAST_SHARE = 0.005


def main(clip):
    cv2.setNumThreads(1)
    background = cv2.createBackgroundSubtractorMOG2()
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (3, 3))
    capture = cv2.VideoCapture(clip)
    looks, cpu_s = [], 0.0
    while True:
        there, picture = capture.read()
        if not there:
            break
        at_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        before_s = time.thread_time()
        height = round(picture.shape[0] * WIDTH / picture.shape[1])
        grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), (WIDTH, height), interpolation=cv2.INTER_AREA)
        moving = (background.apply(grey) == MOVING).astype("uint8")
        opened = cv2.morphologyEx(moving, cv2.MORPH_OPEN, kernel)
        contours, _ = cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        largest = max((cv2.contourArea(contour) for contour in contours), default=0)
        cpu_s += time.thread_time() - before_s
        looks.append((at_s, largest > LEAST_SHARE * WIDTH * height))
    if not looks:
        sys.exit(f"{clip}: OpenCV reads no picture")
    first_s = looks[0][0]
    json.dump({"looks": [(at_s - first_s, moving) for at_s, moving in looks], "cpu_s": cpu_s}, sys.stdout)


main(sys.argv[1])
