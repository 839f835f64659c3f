"""The last good configuration: kept in the state directory, used when the files cannot be.

A bad edit then never takes a device off its WFM: not at reload, and not at the boot after it. The copy is one
ordinary document, merged from files, variables and arguments, and loaded by the same rules as any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from margod.config.files import LARGEST, Sources, shown
from margod.config.load import Gathering, Loaded, build, contradictions, gather, load, outside, stand_ins
from margod.config.render import as_yaml
from margod.config.settings import SETTINGS
from margod.model import reasons
from margod.model.errors import ConfigError, Problem
from margod.store import read_regular, write_file

NAME: Final = "config.last-good"
"""Its name in the state directory."""

_HEAD: Final = "# The last good configuration of margod, written by margod. Not read while the real one is good.\n"


def load_with_last_good(
    sources: Sources, env: Mapping[str, str], overrides: Mapping[str, str], *, state_directory: Path | None = None
) -> Loaded:
    """Load like `load`; if that fails, return the last good configuration with the problems in `problems`.

    Variables and arguments that are good still win over the copy. The copy is looked for in `state_directory` if the
    caller knows it, else where the files say, as far as they can be read, else at the default. Raises the ConfigError
    of the files if there is no copy; of a copy that cannot be used it has one problem more. Writes nothing.
    """
    try:
        return load(sources, env, overrides)
    except ConfigError as error:
        directories = [state_directory] if state_directory is not None else _state_directories(sources, env, overrides)
        problems = list(error.problems)
        for directory in directories:
            try:
                data = read_regular(directory / NAME, LARGEST)
            except FileNotFoundError:
                continue
            except OSError as failure:
                problems.append(Problem(shown(directory / NAME), None, "", f"cannot be read: {failure.strerror}"))
                continue
            if (loaded := _from_copy(directory / NAME, data, env, overrides, problems)) is not None:
                return loaded
        raise ConfigError(reasons.CONFIG_INVALID, tuple(problems)) from None


def keep_last_good(loaded: Loaded, directory: Path | None = None) -> bool:
    """Store `loaded` as the last good configuration; return whether anything was written.

    `directory` is the state directory in use if that is not the one that `loaded` names: it was changed by a reload.
    To be called once the state directory is open and locked. Does nothing if `loaded` is itself the copy, or if the
    copy is the same already. Raises StateNotWritable; the device can go on without.
    """
    if loaded.is_last_good:
        return False
    given = {key: one.value for key, one in loaded.given.items() if one.origin.place != SETTINGS[key].default_from}
    data = (_HEAD + as_yaml(given)).encode()
    directory = directory or loaded.config.state.directory
    try:
        if read_regular(directory / NAME, LARGEST) == data:
            return False
    except OSError:
        pass  # missing, or not what it should be: writing replaces it or says why not
    write_file(directory, NAME, data)
    return True


def _state_directories(sources: Sources, env: Mapping[str, str], overrides: Mapping[str, str]) -> list[Path]:
    """Return where the copy may be: where the readable part of the files says, then the default."""
    defaults = Gathering()
    defaults.add_texts(stand_ins(env))
    both = (gather(sources, env, overrides).given, defaults.given)
    directories = [given["state.directory"].value for given in both if "state.directory" in given]
    return list(dict.fromkeys(directories)) or [SETTINGS["state.directory"].default]


def _from_copy(
    path: Path, data: bytes, env: Mapping[str, str], overrides: Mapping[str, str], problems: list[Problem]
) -> Loaded | None:
    copy = Gathering()
    copy.add_texts(stand_ins(env))
    copy.problems.clear()  # of the variables they are known already
    copy.add_document(data, shown(path))
    wrong = [*copy.problems, *contradictions(copy.given)]
    if wrong:
        problems += wrong
        return None
    copy.add_texts(outside(env, overrides))  # and these, too
    return build(copy.given, [path], tuple(problems))
