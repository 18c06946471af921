"""table.tex: what it holds, and what a TeX engine makes of it."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from tests.report.synthetic import METRICS, one_metric, settings, whole_run
from tests.report.test_tables import HOSTILE
from vitjax.report import latex, summarise
from vitjax.report.latex_text import LATIN, escape, wrapped
from vitjax.report.style import TableStyle

ENGINE = next(filter(shutil.which, ("pdflatex", "tectonic", "xelatex", "lualatex")), None)
LONG = [f"integrated_gradients(quadrature=riemann_trapezoid, steps={i}, score=probability)" for i in range(12)]


def whole(methods=("random", "a"), count=40):
    return summarise(*whole_run(list(methods), count), metrics=METRICS, resamples=20)


def many_columns(columns, methods=6):
    """A run with many metrics of one family."""
    rng = np.random.default_rng(0)
    labels = [f"iou{i}" for i in range(columns)]
    config, table = one_metric(rng.random((20, methods)), methods=["random", *LONG][:methods])
    config = settings([method["label"] for method in config["methods"]], labels, 20)
    for label in labels:
        table = table.append_column(f"{label}.value", [rng.random(20 * methods)])
    return summarise(config, table, metrics=dict.fromkeys(labels, METRICS["iou"]), resamples=20)


def tabulars(source):
    return re.findall(r"^\\begin{tabular}{@{}(l.*?)@{}}\n(.*?)^\\end{tabular}", source, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("methods", [["random", "a"], HOSTILE])
def test_is_well_formed(methods):
    source = latex(whole(methods))
    bare = re.sub(r"\\[{}&%$#_\\]", "", re.sub(r"\\\\", "", source))
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
    for columns, body in tabulars(source):
        for line in body.splitlines():
            if " & " in line and "multicolumn" not in line:
                assert len(re.findall(r"(?<!\\)&", line)) == columns.count("r") + columns.count("l") - 1
                assert line.endswith(r" \\")
    assert not re.search(r"^\[", source, re.MULTILINE)  # an optional argument of the line break before it


def test_one_table_for_each_family_with_a_label_of_its_own():
    source = latex(whole())
    labels = ["tab:localisation", "tab:faithfulness", "tab:complexity"]
    assert re.findall(r"\\label{(.*)}", source) == labels and source.count(r"\begin{table}") == 3
    assert "difference" not in source


def test_labels_of_any_family_are_plain_and_distinct():
    metrics = {name: METRICS["iou"]._replace(family=family) for name, family in (("x", "Ä_%"), ("y", "#"), ("z", "ä"))}
    _, table = one_metric([[0.5], [0.6]])
    for name in metrics:
        table = table.append_column(f"{name}.value", table["iou.value"])
    source = latex(summarise(settings(["m0"], list(metrics), 2), table, metrics=metrics))
    assert re.findall(r"\\label{(.*)}", source) == ["tab:metrics", "tab:metrics-2", "tab:metrics-3"]


def test_columns_that_do_not_fit_stand_below():
    few, many = (tabulars(latex(many_columns(count, 1))) for count in (2, 9))
    assert [columns.count("r") for columns, _ in few] == [2]
    assert len(many) > 1 and sum(columns.count("r") for columns, _ in many) == 9
    assert len(tabulars(latex(many_columns(9, 1), TableStyle(digits=1, intervals=False)))) < len(many)


def test_partial_runs_are_marked():
    config, table = whole_run(["random", "a"], 30)
    source = latex(summarise(config, table.slice(0, 40), metrics=METRICS, resamples=5, partial=True))
    assert source.count("images (partial: 20 of 30 images).") == 3


def test_escape():
    assert escape("a_b & 50%") == r"a\_b \& 50\%"
    assert escape("\\{}") == r"\textbackslash{}\{\}"
    assert escape("α = --x\n☃ ąé") == r"$\alpha$ = -{}-x ? aé"


def test_lines_break_at_spaces_first():
    assert wrapped("Integrated gradients (steps=20)", 90, "footnotesize") == ["Integrated gradients", "(steps=20)"]
    assert wrapped("a_very_long_name_of_a_method", 60, "footnotesize") == ["a_very_long_", "name_of_a_", "method"]
    assert wrapped("", 60, "footnotesize") == [""]
    assert wrapped("IoU (threshold=0.5)", 30, "footnotesize") == ["IoU", "(threshold=0.5)"]


@pytest.mark.skipif(ENGINE is None, reason="needs a TeX engine with booktabs, such as texlive-latex-recommended")
@pytest.mark.parametrize("options", ["", "twocolumn"])
def test_compiles_inside_the_text(tmp_path, options):
    """No error, no line wider than the text, no table higher than the page; in a narrow column, too."""
    exotic = [*HOSTILE, "".join(sorted(LATIN)), "αΩ漢字ąđ≤∑", *LONG[:3]]
    tables = [latex(whole(exotic)), latex(many_columns(12, 12)), latex(many_columns(4), TableStyle(intervals=False))]
    for number, table in enumerate(tables):
        (tmp_path / f"table{number}.tex").write_text(table.replace("tab:", f"tab:{number}-"))
    inputs = "\n".join(rf"\input{{table{number}}}\clearpage" for number in range(len(tables)))
    packages = r"\usepackage{booktabs,graphicx}"
    (tmp_path / "paper.tex").write_text(
        rf"\documentclass[{options}]{{article}}{packages}\begin{{document}}{inputs}\end{{document}}"
    )
    command = [ENGINE, "paper.tex"] if ENGINE == "tectonic" else [ENGINE, "-interaction=nonstopmode", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    complaints = re.findall(r"^(?:!.*|Overfull.*|.*Float too large.*)$", done.stdout + done.stderr, re.MULTILINE)
    assert done.returncode == 0 and complaints == []
