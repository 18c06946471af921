"""Sections of a run that end in every way there is; imported by the processes that run them."""

import os
import time


def well(setup, clock, peaks):
    yield {"case": "first", "left": clock.left > 0}
    yield {"case": "second"}


def hanging(setup, clock, peaks):
    yield {"case": "first"}
    time.sleep(600)


def raising(setup, clock, peaks):
    yield {"case": "first"}
    raise ValueError("of\ntwo lines")


def dying(setup, clock, peaks):
    yield {"case": "first"}
    os._exit(7)
