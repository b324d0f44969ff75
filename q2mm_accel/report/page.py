"""A fit's report: one self-contained HTML page, and the same in Markdown without figures."""

from q2mm_accel.errors import MissingPackageError
from q2mm_accel.report.figures import figures_of


def html_of(record: dict, title: str = "Force-field fit") -> str:
    """The report as one HTML page, figures included.

    Raises:
        MissingPackageError: jinja2 or matplotlib is not installed.
    """
    return _rendered("page.html", record, title, figures=figures_of(record))


def body_of(record: dict, title: str = "Force-field fit") -> str:
    """The same without head and style, to be shown inside another page, such as a notebook."""
    return _rendered("body.html", record, title, figures=figures_of(record))


def markdown_of(record: dict, title: str = "Force-field fit") -> str:
    """The report as Markdown, without figures."""
    return _rendered("report.md", record, title)


def _rendered(template: str, record: dict, title: str, **more) -> str:
    try:
        import jinja2
    except ImportError as error:
        raise MissingPackageError(
            "jinja2 is not installed, which writes reports; run: python -m pip install 'q2mm_accel[report]'"
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("q2mm_accel.report"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": _number, "largest": _largest, "rms": _rms}
    return environment.get_template(template).render(r=record, title=title, **more)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _largest(deviations: dict) -> float:
    return max((abs(value) for value in deviations["values"] if value is not None), default=0.0)


def _rms(molecule: dict, name: str) -> float | None:
    pairs = [(a, b) for a, b in zip(molecule[name], molecule["QM"], strict=True) if a is not None and b is not None]
    return (sum((a - b) ** 2 for a, b in pairs) / len(pairs)) ** 0.5 if pairs else None
