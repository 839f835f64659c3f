"""The YAML: settings, loading, defaults, problems, the last good configuration.

Reads files and environment, never the network. Imports yaml and attrs, and of the other rooms model and store only;
files that the YAML names (keys, certificates) are not looked at here.
"""

from margod.config.files import DEFAULT_FILE, Sources
from margod.config.last_good import keep_last_good, load_with_last_good
from margod.config.load import Loaded, Origin, load
from margod.config.render import json_schema, with_origins
from margod.config.settings import Config

__all__ = [
    "DEFAULT_FILE",
    "Config",
    "Loaded",
    "Origin",
    "Sources",
    "json_schema",
    "keep_last_good",
    "load",
    "load_with_last_good",
    "with_origins",
]
