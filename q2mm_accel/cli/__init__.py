"""The command q2mm-accel: its words. What they do is in `actions`, which loads JAX; `--help` and `--version` do not."""

import sys
from importlib.metadata import version

import click

from q2mm_accel.cli.codes import BAD_INPUT, HELD, INTERRUPTED
from q2mm_accel.errors import Q2MMAccelError


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: command-line words; those of the process by default.

    Returns:
        The exit code: 0, 1 where a force field does not hold its molecules or a fit did not converge, 2 for bad input, 130
        after Ctrl-C.
    """
    try:
        code = commands.main(arguments, prog_name="q2mm-accel", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return BAD_INPUT
    except click.Abort:
        print("q2mm-accel: interrupted.", file=sys.stderr)
        return INTERRUPTED
    except Q2MMAccelError as error:
        print(f"q2mm-accel: {error}", file=sys.stderr)
        return BAD_INPUT
    return code if isinstance(code, int) else HELD


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("q2mm_accel"), prog_name="q2mm-accel")
def commands() -> None:
    """Fit force fields to quantum chemistry, and say what they are worth.

    INPUT is any of: files of QM programs with a Hessian (.fchk, .hess, .log, .json, .npz, ...), GEOMETRY+HESSIAN
    (.xyz+.npy), the
    name of a data set (see `datasets`), or one .toml file that names them and all options.

    Exit codes: 0 fine; 1 the result should not be trusted; 2 the input cannot be used; 130 interrupted.
    """


def _fitted(command):
    """Options that say what is fitted."""
    for option in reversed(
        (
            click.argument("inputs", nargs=-1, required=True, metavar="INPUT..."),
            click.option("--form", metavar="FORM", help="Functional form: harmonic (default), mm3, amber."),
            click.option("--by", type=click.Choice(["environment", "element"]), help="What types atoms."),
            click.option("--urey-bradley/--no-urey-bradley", default=None, help="Distance terms of angles (default: yes)."),
            click.option("--couplings/--no-couplings", default=None, help="Couple bonds and angles that share atoms."),
            click.option("--vdw/--no-vdw", default=None, help="Van der Waals terms with UFF's parameters, not fitted."),
            click.option("--bond-tolerance", type=float, help="Longest bonds, in radii (default: 1.3; saddles: 1.5)."),
            click.option("--displacement", type=float, help="Weight of displacements, per Å √u (default: 100)."),
            click.option("--stiffness", type=float, help="Least part of QM's stiffness (default: 0.5)."),
        )
    ):
        command = option(command)
    return command


_as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON; all else goes to stderr.")


@commands.command()
@_fitted
@click.option("--refine", type=click.Choice(["frequencies", "geometry"]), help="Go on from the solution with these.")
@click.option("--maxiter", type=click.IntRange(1), help="Most steps, where the form is not harmonic (default: 1000).")
@click.option("--output", type=click.Path(), help="Folder for the results (default: q2mm-accel-fit/NAME).")
@click.option("--export", multiple=True, metavar="SUFFIX", help="Also write the force field as .xml, .frcmod, .top, ...")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint that an interrupted fit left in the folder.")
@_as_json
def fit(inputs, as_json, **options) -> int:
    """Fit a force field, validate it, and write it with a report.

    INPUT: QM files, GEOMETRY+HESSIAN such as acid.xyz+acid.npy, data sets, or one .toml file.
    """
    from q2mm_accel.cli import actions

    return actions.fit_inputs(inputs, options, as_json)


@commands.command()
@_fitted
@_as_json
def check(inputs, as_json, **options) -> int:
    """Say what would be fitted: terms, types, bounds, data against parameters, memory."""
    from q2mm_accel.cli import actions

    return actions.check_inputs(inputs, options, as_json)


@commands.command()
@click.argument("forcefield", type=click.Path(), metavar="FORCEFIELD")
@_fitted
@_as_json
def validate(forcefield, inputs, as_json, **options) -> int:
    """What a fitted FORCEFIELD (forcefield.json) does by itself with molecules that have the same types."""
    from q2mm_accel.cli import actions

    return actions.validate_inputs(forcefield, inputs, options, as_json)


@commands.command()
@click.argument("objective", metavar="MODULE:OBJECTIVE")
@click.option("--points", type=click.IntRange(1), default=3, show_default=True, help="How many points to compare at.")
def compare(objective, points) -> int:
    """Compare an objective of q2mm, an object in a Python module, with the fused one, value by value."""
    from q2mm_accel.cli import actions

    return actions.compare_objective(objective, points)


@commands.command()
@click.argument("folder", type=click.Path())
@click.option("--output", type=click.Path(), help="The file (default: report.html in the folder; .md for Markdown).")
def report(folder, output) -> int:
    """Write the report of a saved fit again, as HTML or Markdown."""
    from q2mm_accel.cli import actions

    return actions.write_report(folder, output)


@commands.command()
@_as_json
def datasets(as_json) -> int:
    """List the data sets that can be fitted by name."""
    from q2mm_accel.cli import actions

    return actions.list_datasets(as_json)


@commands.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def benchmark(arguments) -> int:
    """Measure speed on this machine; as `python -m q2mm_accel.benchmark`, whose options it takes."""
    from q2mm_accel.benchmark.__main__ import main as run

    run(list(arguments))
    return HELD
