"""ARCHITECTURE.md leads to what is there: its paths exist, and an answer of "where is ...?" holds what is asked for."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("| where is ...? | path |\n|---|---|\n")[2]
QUESTIONS = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", TABLE, re.M))

ANSWERS = {  # what each of the files of an answer contains
    "the softmax of attention": ["\ndef _softmax("],
    "the attention module, pooling heads included": ["\nclass AttentionPool("],
    "one block": ["\nclass Block("],
    "rotary positions, relative position bias": ["\nclass Rotary:", "\ndef resample_table("],
    "what `transformer_mm` computes": ["\ndef transformer_mm("],
    "where blocks are differentiated": ["jax.vjp("],
    "where options of methods and metrics are checked": ["\ndef checked_options("],
    "the list of all methods": ["\nMETHODS: "],
    "how IoU is defined": ["\ndef iou("],
    "the z⁺ rule": ["\nZPLUS = "],
    "how any JAX function becomes a model": ["\ndef from_function(", "\nclass FunctionConfig:"],
    "which methods a model can have": ["\ndef check_needs("],
    "which models load by name": ['"vit_base_patch16_224"', "ASSET"],
    "where a new architecture goes": ["vit.py", "\ndef config_of("],
    "how `.pth` files are read without running them": ["\ndef read_pickle("],
    "timm's key names": ["\nclass Layout("],
    "how many images are computed together": ["\nclass ExecutionPlan("],
    "how GPUs compute softmax and attention": ["\nclass Kernels("],
    "why several cores are busy": ["\ndef run_in_threads("],
    "the sharding over devices": ["\nclass Devices:"],
    "where an image is decoded": ["\ndef read_picture("],
    "where a data set is listed": ["\ndef open_folder(", "\nclass Listing:"],
    "where a chunk is published": ["    def publish("],
    "the columns of a record": ["\nSTATUSES = "],
    "the page of `vitjax explore`, and what its scripts compute": ["\ndef write_page(", "main.js"],
    "the bootstrap intervals": ["bootstrap"],
    "which statistics a table shows, in how many decimals": ["\nclass TableStyle("],
    "headings of statistics, titles and units of axes": ["    axes: "],
    "options of figures, in Python and as flags": ["\nclass FigureOptions", "\nclass FigureArguments"],
    "the browser that tests of pages use": ["\nclass Browser:"],
    "what `vitjax compare` does": ["\ndef compare("],
}


def test_every_question_of_the_page_is_checked():
    assert list(QUESTIONS) == list(ANSWERS) and len(ANSWERS) >= 20


@pytest.mark.parametrize("question", ANSWERS)
def test_the_answer_leads_to_the_thing(question):
    paths = re.findall(r"`([\w./]+/[\w.]*)`", QUESTIONS[question])
    assert len(paths) == len(ANSWERS[question])
    for path, thing in zip(paths, ANSWERS[question], strict=True):
        place = ROOT / path
        if path.endswith("/"):  # a package: the thing is one of its files
            assert thing in {file.name for file in place.iterdir()}, path
        else:
            assert thing in place.read_text(encoding="utf-8"), path


def test_every_file_that_the_page_names_exists():
    named = set(re.findall(r"`((?:[a-z_]+/)+[\w.]*)`", PAGE))
    assert len(named) > 50
    assert [path for path in sorted(named) if not any((base / path).exists() for base in (ROOT, ROOT / "vitjax"))] == []
