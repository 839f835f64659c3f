"""`margod check`: looks at all that an onboarding stands on, changes nothing, and says what it found.

`report.py` and `judge.py` are pure: what was seen goes in, lines come out. `device.py`, `clock.py` and `network.py`
look; `doctor.py` puts them in order. Nothing here writes, takes a lock or sends a request that onboards.
"""

from margod.check.doctor import Questions, examine
from margod.check.report import Line, Verdict, document, exit_code

__all__ = ["Line", "Questions", "Verdict", "document", "examine", "exit_code"]
