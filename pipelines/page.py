"""HTML pages: the templates beside this module, filled in."""

from __future__ import annotations

from importlib.resources import files
from typing import Any


def fill(template: str, /, **values: Any) -> str:
    """Fill a template.

    Parameters
    ----------
    template
        Its file, such as ``report.html.jinja``; it may extend another one.
    **values
        Everything that the template names: what it lacks is an error.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values)


def _source(name: str) -> str:
    return files("pipelines").joinpath(name).read_text(encoding="utf-8")
