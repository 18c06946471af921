"""Damaged inputs, made of valid ones by a seed: whatever is read ends in one line, in a status, or in the right result.

    python -m tests.mutations --kind pictures --count 10000

engine.py    the mutations, of bytes and of texts
inputs.py    the kinds of inputs: valid ones, and what reads them
__main__.py  runs inputs in child processes, which may hang, die or take too much memory, and counts the outcomes
"""
