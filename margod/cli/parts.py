"""What an installation may leave out: a device in the field needs no development WFM."""

from __future__ import annotations

from importlib.util import find_spec

from margod.model.errors import MargodError
from margod.model.reasons import DEVWFM_NOT_INSTALLED


def require_devwfm() -> None:
    """Raise MargodError, which says what to install, where `margod.devwfm` or the demo is not installed."""
    if find_spec("margod.devwfm") is None or find_spec("margod.demo") is None:
        raise MargodError(DEVWFM_NOT_INSTALLED)
