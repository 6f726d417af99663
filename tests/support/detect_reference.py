"""The detector's stages in Python's OpenCV, to compare Tarsier's with.

usage: detect_reference.py FOLDER

FOLDER holds `parameters.json` and, row by row and picture by picture, `planes.raw` (the grey planes) and what Tarsier
made of them: one file a stage. Every stage is computed twice: from Tarsier's stage before it (so that a difference is
blamed on the stage that makes it), and from the planes alone (so that nothing can hide). Prints JSON: for each stage the
largest difference and how many values differ, and for each picture the reference's own number of changed pixels.
"""
import json
import os
import sys

import cv2 as cv
import numpy as np


def main(folder):
    with open(os.path.join(folder, "parameters.json")) as file:
        p = json.load(file)
    width, height = p["width"], int(p["source_height"] * (p["width"] / float(p["source_width"])))

    def pictures(name, shape):
        data = np.fromfile(os.path.join(folder, name + ".raw"), np.uint8)
        return data.reshape((-1,) + shape)

    planes = pictures("planes", (p["source_height"], p["source_width"]))
    stages = ["scaled", "blurred", "prepared", "difference", "changed", "dilated", "area"]
    theirs = {name: pictures(name, (height, width)) for name in stages}

    def scaled(plane):
        return cv.resize(plane, (width, height), interpolation=cv.INTER_AREA)

    def blurred(picture):
        return cv.GaussianBlur(picture, (p["blur"], p["blur"]), 0) if p["blur"] > 1 else picture

    def prepared(picture):
        return cv.normalize(picture, None, 0, 255, cv.NORM_MINMAX) if p["normalize"] else picture

    def difference(newest, before, oldest):
        if p["frames"] == 2:
            return cv.absdiff(newest, before)
        return cv.bitwise_and(cv.absdiff(newest, before), cv.absdiff(before, oldest))

    def changed(picture):
        return cv.threshold(picture, p["threshold"], 255, cv.THRESH_BINARY)[1]

    def dilated(picture):
        return cv.dilate(picture, None, iterations=p["dilate"])

    def area(picture):
        return cv.erode(picture, None, iterations=p["erode"])

    compared = {name: {"pictures": 0, "values": 0, "differ": 0, "largest": 0} for name in stages}

    def compare(name, expected, n):
        got = theirs[name][n]
        off = cv.absdiff(expected, got)
        seen = compared[name]
        seen["pictures"] += 1
        seen["values"] += off.size
        seen["differ"] += int(np.count_nonzero(off))
        seen["largest"] = max(seen["largest"], int(off.max()))

    own, counts = [], []
    # Stages that compare begin with the second picture, or the third; Tarsier's files do too.
    lead = p["frames"] - 1
    for n, plane in enumerate(planes):
        compare("scaled", scaled(plane), n)
        if p["blur"] > 1:
            compare("blurred", blurred(theirs["scaled"][n]), n)
        compare("prepared", prepared(theirs["blurred" if p["blur"] > 1 else "scaled"][n]), n)
        own.append(prepared(blurred(scaled(plane))))
        if n < lead:
            counts.append(0)
            continue
        at = n - lead
        before = theirs["prepared"]
        compare("difference", difference(before[n], before[n - 1], before[n - 2]), at)
        compare("changed", changed(theirs["difference"][at]), at)
        compare("dilated", dilated(theirs["changed"][at]), at)
        compare("area", area(theirs["dilated"][at]), at)
        alone = area(dilated(changed(difference(own[n], own[n - 1], own[n - 2]))))
        counts.append(int(cv.countNonZero(alone)))
    json.dump({"opencv": cv.__version__, "stages": compared, "counts": counts}, sys.stdout)


main(sys.argv[1])
