"""The command line: one thin function for each subcommand. Results go to stdout, progress and errors to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated

import tyro

from vitjax.cli import evaluate as cli_evaluation
from vitjax.cli import explain_commands, explore
from vitjax.cli.arguments import (
    Count,
    Methods,
    Out,
    ProgressBar,
    Seed,
    method_requests,
    one_line_help,
    option,
)
from vitjax.cli.model_arguments import ModelArguments, ModelOption
from vitjax.cli.paper import paper
from vitjax.errors import VitjaxError
from vitjax.execution.jax_settings import allow_what_debugging_forbids
from vitjax.execution.stopping import until_a_signal
from vitjax.output.terminal import accept_all_characters, say


def demo(out: Out, scenes: Count = 4, scored: Count = 200, seed: Seed = 0, overwrite: bool = False) -> None:
    """Explain bundled scenes with the bundled model, and score every quick method against the true masks. Offline.

    Args:
        out: directory to write, new or empty.
        scenes: number of two-object scenes to draw.
        scored: number of two-object scenes to score.
        seed: seed of methods that draw random numbers.
        overwrite: write into a directory that is not empty; files of the same name are replaced.
    """
    from vitjax.cli.demo import run_demo

    say(run_demo(out, scenes=scenes, scored=scored, seed=seed, overwrite=overwrite))


def methods(name: Annotated[str, tyro.conf.Positional, option(metavar="[NAME]")] = "") -> None:
    """List every method with its cost, options and citation; or describe one: formula, options, when to use it.

    Args:
        name: the method to describe, as in `vitjax methods rollout`; module:name for one of your own.
    """
    from vitjax.cli.describe import method_lines

    for line in method_lines(name):
        say(line)


def models(
    pattern: Annotated[str, tyro.conf.Positional, option(metavar="[PATTERN]")] = "", refused: bool = False
) -> None:
    """List models by name: image size, parameters, tokens, normalisation, whether trained with texts, tags.

    Args:
        pattern: only names and tags that contain this text, as in `vitjax models dinov2`; each tag has its own line.
        refused: list timm's names that do not load, with the reason.
    """
    from vitjax.cli.models import listing

    for line in listing(pattern, refused):
        say(line)


VERIFIED = ModelArguments(model="deit_tiny_patch16_224")


def verify(
    model: ModelOption = VERIFIED,
    methods: Methods = (),
    images: Count = 2,
    seed: Seed = 0,
    tolerance: Annotated[float, option(metavar="X")] = 1e-3,
) -> None:
    """Compare logits, every block and methods with PyTorch on the same weights. Exit code 1 if beyond the tolerance.

    Args:
        methods: names or "all"; their float32 maps are compared with the same formulas on PyTorch's gradients in
            float64 (pip install 'vitjax[verify]'). Methods that sample or optimise have no formula to compare with.
        images: number of random inputs.
        seed: seed of the inputs.
        tolerance: for methods, the largest max |difference| / max |reference| that passes.
    """
    from vitjax.cli.verify import verify_against_timm

    report, passed = verify_against_timm(model, method_requests(methods), images, seed, tolerance, ProgressBar)
    say(report)
    if not passed:
        raise SystemExit(1)


def check_method(
    method: Annotated[str, tyro.conf.Positional, option(metavar="MODULE:NAME", help_behavior_hint="(required)")],
) -> None:
    """Check a user-defined method: shape, finiteness, batch invariance, jit = eager, dependence on the target.

    Args:
        method: module and name of a vitjax.Method, for example my_methods:METHOD in my_methods.py of the working
            directory. `--methods my_methods:METHOD` then uses it in every command.
    """
    from vitjax.cli.check_method import check_method as check

    checks = check(method)
    for name, passed, detail in checks:
        say(f"{'ok  ' if passed else 'FAIL'} {name}: {detail}")
    if not all(passed for _, passed, _ in checks):
        raise SystemExit(1)


COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "explain": explain_commands.explain,
    "compare": explain_commands.compare,
    "explore": explore.explore,
    "evaluate": cli_evaluation.evaluate,
    "report": cli_evaluation.report,
    "status": cli_evaluation.status,
    "methods": methods,
    "metrics": cli_evaluation.metrics,
    "paper": paper,
    "models": models,
    "verify": verify,
    "check-method": check_method,
}
DESCRIPTION = (
    "Explain Vision Transformers. `vitjax COMMAND --help` describes a command, `vitjax --version` prints the versions."
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Exit codes: 0 success; 1 failure, with one line on stderr or a failed check; 2 invalid arguments; 3 an evaluation
    left chunks open; 128 + n ended by signal n: 130 SIGINT (Ctrl-C), 143 SIGTERM, 129 SIGHUP.

    Args:
        arguments: without the program's name; None takes `sys.argv[1:]`, and signals then end this process.
    """
    accept_all_characters()
    if arguments is not None:
        _run(arguments)
        return
    allow_what_debugging_forbids()
    until_a_signal(lambda: _run(sys.argv[1:]))


def _run(arguments: list[str]) -> None:
    if arguments[:1] == ["--version"]:
        say(_versions())
        return
    brief = arguments[:1] not in [[name] for name in COMMANDS]
    commands = {name: one_line_help(command, brief=brief) for name, command in COMMANDS.items()}
    try:
        tyro.extras.subcommand_cli_from_dict(
            commands, prog="vitjax", description=DESCRIPTION, args=arguments or ["--help"]
        )
    except VitjaxError as error:
        raise SystemExit(_failed(str(error))) from None
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        raise SystemExit(_failed(f"{where}{error.strerror or error}")) from None
    except MemoryError:
        raise SystemExit(_failed("out of memory; try a smaller --batch-size or --chunk-size")) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _versions() -> str:
    """Versions of vitjax and of what its numbers depend on, in one line."""
    from vitjax.rundir.manifest import versions

    numbers = versions()
    others = ", ".join(f"{name} {numbers[name]}" for name in ("jax", "flax", "numpy", "python") if numbers.get(name))
    return f"vitjax {numbers['vitjax']} ({others})"


def _failed(message: str) -> int:
    say(f"vitjax: error: {message}", error=True)
    return 1


if __name__ == "__main__":
    main()
