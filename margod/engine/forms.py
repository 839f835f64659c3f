"""Which dialect form a step takes: the specification's first, an older one only where a known deviation asks for it."""

from __future__ import annotations

from dataclasses import replace

from margod.engine.messages import Facts, History, Level, Note
from margod.model.outcome import Outcome, Step


def present(facts: Facts | None, history: History, step: Step) -> str:
    """Return the form that the step takes now; "" where there is none."""
    forms = facts.forms.get(step, ()) if facts else ()
    remembered = history.form.get(step, "")
    return remembered if remembered in forms else (forms[0] if forms else "")


def other(facts: Facts | None, history: History, step: Step, outcome: Outcome, tried: tuple[str, ...]) -> str | None:
    """Return the form that a known deviation asks for, if it comes later in the list and was not tried before."""
    forms = facts.forms.get(step, ()) if facts else ()
    form, now = outcome.other_form, present(facts, history, step)
    if form is None or form not in forms or form in tried or forms.index(form) <= forms.index(now):
        return None
    return form


def taken(history: History, step: Step, form: str) -> History:
    """Return the history in which the step takes `form` from now on."""
    return replace(history, form={**history.form, step: form})


def anew(history: History, step: Step) -> History:
    """Return the history after every known form was refused: the specification's own is the one to go on with."""
    return replace(history, form={other: name for other, name in history.form.items() if other is not step})


def note(step: Step, form: str) -> Note:
    """Return the line that says that another form is tried."""
    return Note(Level.INFO, "dialect-form", {"step": step.value, "form": form})
