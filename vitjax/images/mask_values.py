"""The values of an object mask, everywhere in vitjax."""

BACKGROUND, IGNORE, OBJECT = 0, 128, 255
"""IGNORE: pixels that count nowhere."""
