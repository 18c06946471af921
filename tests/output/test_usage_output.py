"""`vitjax.output` in use: names, text, CSV and lines whatever images and classes are called."""

import csv
import doctest
import io
import os
import sys

import pytest

from vitjax.errors import ImageError, OutputError, RunError, shown
from vitjax.output import wording
from vitjax.output.files import csv_cell, csv_text, write_bytes, write_text
from vitjax.output.names import FileNames, text_of, unique
from vitjax.output.terminal import accept_all_characters, say


def test_numbers_in_words_are_those_of_the_examples():
    result = doctest.testmod(wording)
    assert result.attempted >= 6 and not result.failed


def test_ids_are_text_whatever_the_bytes_of_the_name():
    assert text_of(os.fsdecode(b"caf\xe9")) == "caf%E9"
    assert text_of("a\x1b[2Jb\n\u202e") == "a%1B[2Jb%0A%E2%80%AE"
    assert text_of("caf\xe9 \u732b") == "caf\xe9 \u732b"


def test_repeated_names_get_numbers_that_no_other_has():
    assert unique(["a", "a_2", "a", "a"]) == ("a", "a_2", "a_3", "a_4")
    assert unique(["a", "a", "a_2"]) == ("a", "a_3", "a_2")  # a name given once stays


def test_file_names_of_a_command_are_unique_without_case_and_with_any_ending():
    names = FileNames(["manifest.json", "grid.pdf"])
    assert names.claim("x_grad_rollout", ".png", ".pdf") == "x_grad_rollout.png"  # of image x
    assert names.claim("x_grad_rollout", ".png", ".pdf") == "x_grad_rollout_2.png"  # of image x_grad
    assert names.claim("X_grad_rollout", ".png") == "X_grad_rollout_3.png"
    assert names.claim("grid", ".png", ".pdf") == "grid_2.png"
    assert names.claim("e\u0301", ".png") == "e\u0301.png"
    assert names.claim("\xe9", ".png") == "\xe9_2.png"  # the same letter
    assert names.claim("a/b", ".png") == "a%2Fb.png"


def test_long_file_names_fit_and_remain_distinct(tmp_path):
    names = FileNames()
    chosen = [names.claim("\u732b" * 90 + end, ".png", ".pdf") for end in ("a", "b", "a")]
    assert len(set(chosen)) == 3
    for name in chosen:
        assert len(os.fsencode(name)) <= 255
        write_bytes(tmp_path / name, b"x")
    assert names.claim("n" * 251, ".png") == "n" * 251 + ".png"


def test_files_appear_whole_or_not_at_all(tmp_path, monkeypatch):
    path = write_text(tmp_path / "a.txt", "caf\xe9 \udce9")
    assert path.read_bytes() == b"caf\xc3\xa9 \\udce9"

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"a\.txt: cannot be written: No space left on device$"):
        write_text(path, "new")
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes().startswith(b"caf")


@pytest.mark.parametrize("text", ["=cmd|' calc'!A0", "+1+1", "-x", "@SUM(1)", "\uff1d1"])
def test_formulas_become_text(text):
    assert csv_cell(text) == "'" + text
    rows = list(csv.DictReader(io.StringIO(csv_text(["a", "b"], [{"a": text, "b": -1.5}]), newline="")))
    assert rows == [{"a": "'" + text, "b": "-1.5"}]


@pytest.mark.parametrize("text", ["\t=x", "a\r=1", "a\n=1"])
def test_control_characters_begin_no_cell(text):
    rows = list(csv.reader(io.StringIO(csv_text(["a"], [{"a": text}]), newline="")))
    assert rows == [["a"], [shown(text)]]


@pytest.mark.parametrize("value", [-1.5, -3, "-1.5", "+2", "-1e-05", "-inf", ".5", "cat", "", None])
def test_numbers_and_words_stay(value):
    assert csv_cell(value) == value


def test_control_characters_reach_neither_terminal_nor_message(capsys):
    say("a\x1b]0;owned\x07\r\nb\udce9")
    assert capsys.readouterr().out == "a\\x1b]0;owned\\x07\\x0d\nb\\xe9\n"
    assert str(ImageError("a\nb\x1b.png: damaged")) == "a\\x0ab\\x1b.png: damaged"
    assert str(RunError("two lines\n  of\x9b fields")) == "two lines\n  of\\x9b fields"
    assert shown("caf\xe9 \u00b1 \u732b") == "caf\xe9 \u00b1 \u732b"


def test_text_that_the_stream_cannot_encode_is_escaped(tmp_path, monkeypatch):
    with (tmp_path / "out").open("w", encoding="cp1252") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        accept_all_characters()
        say("\u03bb \xe9")
    assert (tmp_path / "out").read_bytes().strip() == b"\\u03bb \xe9"
