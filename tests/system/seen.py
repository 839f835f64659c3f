"""Print what the device would report, on one line: run inside the unit's sandbox and outside it by test_sandbox.py.

It is margod's own look, by margod's own configuration.
"""

from __future__ import annotations

import json
import os

from margod.config import Sources, load
from margod.shell import described
from margod.shell.device import device_of
from margod.shell.ground import generation_of

config = load(Sources.find(os.environ), os.environ, {}).config
generation = generation_of(config)
device = device_of(config, config.state.directory, generation)
print(json.dumps(described.document(device, generation, {}, None, settling=False)))
