"""What the command line says about itself: help of every option, a method or a metric by name, versions."""

import re
from itertools import pairwise

import pytest

from vitjax.cli import arguments, train
from vitjax.cli.main import COMMANDS, main
from vitjax.methods import METHODS
from vitjax.metrics import METRICS
from vitjax.train.scenes import STAGES

OPTION = re.compile(r"^(?:-\w \S+, )?--[a-z][\w.-]*(?:, --[a-z.]*no-[\w.-]+)?(?: \S*[A-Z{|]\S*(?: \[\w+ \.\.\.\])?)?")
"""An option with its metavar, at the start of a line of the help."""


def help_of(monkeypatch, capsys, *command, main=main):
    """The lines of a help text, without the boxes around it."""
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as exit_:
        main([*command, "--help"])
    assert exit_.value.code == 0
    return [line.strip(" │") for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_help_that_reads_well(command, monkeypatch, capsys):
    assert_reads_well(help_of(monkeypatch, capsys, command))


@pytest.mark.parametrize("command", train.COMMANDS)
def test_every_option_of_training_has_help_that_reads_well(command, monkeypatch, capsys):
    lines = help_of(monkeypatch, capsys, command, main=train.main)
    assert_reads_well(lines)
    starts = [index for index, line in enumerate(lines) if OPTION.match(line)]
    assert len(starts) == {"finetune": 6, "scenes": 1, "evaluate": 2}[command]
    for start, end in pairwise([*starts, len(lines)]):
        said = " ".join(lines[start:end])
        assert re.search(r"\(default: \S+\)|\(required\)|if not given", said), said


def test_the_list_of_training_commands_is_printed_without_arguments(capsys):
    with pytest.raises(SystemExit) as exit_:
        train.main([])
    printed = capsys.readouterr().out
    assert exit_.value.code == 0 and all(f"• {name}" in printed for name in train.COMMANDS)


def test_the_steps_between_checkpoints_are_those_that_the_help_names(monkeypatch, capsys):
    lines = " ".join(help_of(monkeypatch, capsys, "finetune", main=train.main))
    assert f"there is one every {train.CHECKPOINT_EVERY} steps" in lines
    assert all(stage.checkpoint_every == train.CHECKPOINT_EVERY for stage in STAGES)


def assert_reads_well(lines):
    text = "\n".join(lines)
    for puzzle in ("{None}", "(default: )", "(default: None)", "(default: '')", " STR", " INT", " FLOAT", " PATH"):
        assert puzzle not in text, puzzle
    starts = [index for index, line in enumerate(lines) if OPTION.match(line)]
    for start in starts:
        rest = OPTION.sub("", lines[start]).strip() or lines[start + 1]
        assert re.match(r"[\"a-zA-Z]", rest) and not OPTION.match(rest), lines[start]
    for line, following in pairwise(lines):  # no line ends early in the middle of a sentence
        if following[:1].islower() and len(line) > 20 and not any(map(OPTION.match, (line, following))):
            assert len(line) + len(following.split()[0]) > 55, (line, following)


def test_the_list_of_commands_has_a_line_or_two_for_each_and_no_command_prints_it(monkeypatch, capsys):
    lines = help_of(monkeypatch, capsys)
    assert [line.split()[1] for line in lines if line.startswith("•")] == list(COMMANDS)
    assert "Exit codes" not in "\n".join(lines) and "vitjax --version" in "\n".join(lines)
    assert any(line.startswith("Exit codes: 0") for line in help_of(monkeypatch, capsys, "evaluate"))
    with pytest.raises(SystemExit):
        main([])
    assert "check-method" in capsys.readouterr().out


def test_the_versions_are_printed(capsys):
    main(["--version"])
    assert re.fullmatch(
        r"vitjax [\d.]+ \(jax [\d.]+, flax [\d.]+, numpy [\d.]+, python [\d.]+\)\n", capsys.readouterr().out
    )


@pytest.mark.parametrize(("command", "table"), [("methods", METHODS), ("metrics", METRICS)])
def test_each_method_and_metric_is_described(command, table, capsys):
    for name, entry in table.items():
        main([command, name])
        text = " ".join(capsys.readouterr().out.split())
        assert text.startswith(f"{name}: {entry.title} ") and entry.use_when
        for part in (f"use when {entry.use_when}", f"cost {entry.cost} for each", f"reference {entry.cite}"):
            assert part in text, (name, part)
        for option in entry.options:
            assert re.search(rf" {option}=\S.*?; default \S+ \S", text), (name, option)
        assert "not described" not in text and "`Fold`" not in text


def test_the_formula_and_the_values_of_options_are_shown(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    main(["methods", "rollout"])
    text = capsys.readouterr().out
    assert "map = (Ã_{L-1} ... Ã_1 Ã_0)[class, patches]" in text
    assert "head_fusion=mean|max|min; default mean\n      mean, maximum or minimum over heads." in text
    assert "discard_ratio=a number in [0, 1); default 0.0" in text and "rownorm(M)" in text
    main(["metrics", "perturbation_auc"])
    text = " ".join(capsys.readouterr().out.split())
    assert "levels=a list in brackets, each a number in [0, 100]; default [0,5,10" in text
    assert "Options, as in --metrics perturbation_auc:fill=black" in text
    with pytest.raises(SystemExit, match="1"):
        main(["methods", "cam"])
    error = capsys.readouterr().err
    assert error.startswith("vitjax: error: unknown method 'cam'; did you mean 'ag_cam', 'grad_cam'")
    assert "'token_grad_cam'" in error and error.count("\n") == 1


def test_a_bar_shows_fractions_and_its_clock_goes_on_on_a_terminal(capsys, monkeypatch):
    with arguments.ProgressBar(3, "images") as on_progress:
        for count in (1, 0.125, 0.875, 1):
            on_progress(count)
    assert "100%" in (shown := capsys.readouterr().err) and " 3/3 images [" in shown
    refreshed = []
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr(arguments.ProgressBar, "CLOCK", 0.01)
    bar = arguments.ProgressBar(1, "images")
    monkeypatch.setattr(bar.bar, "refresh", lambda *_, **__: refreshed.append(1))
    with bar:
        for _ in range(200):
            if len(refreshed) > 2:
                break
            bar._over.wait(0.05)
    assert len(refreshed) > 2
