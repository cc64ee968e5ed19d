"""Warns of a public name that no page describes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.ext.autodoc.mock import mock
from sphinx.util import logging


def check(app: Any, env: Any) -> None:
    """Compare what the pages describe with __all__ of the package and with gdn.h."""
    with mock(app.config.autodoc_mock_imports):
        import gdn

    described = {name for name, *_ in env.domains["py"].get_objects()}
    wanted = {f"gdn.{name}" for name in gdn.__all__ if name not in ("__version__", "stages")}
    wanted |= {f"gdn.stages.{name}" for name in gdn.stages.__all__}
    header = (Path(app.srcdir) / "include/gdn/gdn.h").read_text()
    described |= {name for name, *_ in env.domains["c"].get_objects()}
    wanted |= set(re.findall(r"^GDN_API .*?(gdn_\w+)\(", header, re.M))
    wanted |= set(re.findall(r"^typedef (?:struct|enum) (gdn_\w+)", header, re.M))
    for name in sorted(wanted - described):
        logging.getLogger(__name__).warning("%s is on no page of docs/api", name)


def setup(app: Any) -> dict[str, Any]:
    """Register the check."""
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True}
