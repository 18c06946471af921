"""Sections of `benchmarks.accelerator` that end in different ways; the processes that run them import this module."""

import os
import time


def completing(setup, clock, peaks):
    yield {"case": "first", "left": clock.left > 0}
    yield {"case": "second"}


def hanging(setup, clock, peaks):
    yield {"case": "first"}
    time.sleep(600)


def raising(setup, clock, peaks):
    yield {"case": "first"}
    raise ValueError("of\ntwo lines")


def exiting(setup, clock, peaks):
    yield {"case": "first"}
    os._exit(7)


def reading_flags(setup, clock, peaks):
    yield {"case": os.environ["XLA_FLAGS"]}
