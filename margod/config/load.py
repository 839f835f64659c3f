"""From files, environment and arguments to one checked configuration, or to all problems at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

from margod.config import document
from margod.config.files import Sources, read_all, shown
from margod.config.refusal import Refusal
from margod.config.setting import Setting
from margod.config.settings import SECTIONS, SETTINGS, Config, sections_in, settings_in
from margod.config.values import Raw
from margod.model import reasons
from margod.model.errors import ConfigError, Problem


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from: a file and its line, or the name of a variable or argument."""

    place: str
    line: int | None = None

    def __str__(self) -> str:
        """Return `file:line` or the name."""
        return self.place if self.line is None else f"{self.place}:{self.line}"


DEFAULT = Origin("default")


@dataclass(frozen=True, slots=True)
class Given:
    """One value that somebody gave, checked, and where."""

    value: Any
    origin: Origin


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that holds. `fingerprint` changes exactly when an effective value does.

    `given` has what was set and not left at its default, by key. `problems` is empty unless this is the last good
    configuration, used because of them.
    """

    config: Config
    files: tuple[Path, ...]
    fingerprint: str
    given: Mapping[str, Given]
    problems: tuple[Problem, ...] = ()

    @property
    def is_last_good(self) -> bool:
        """Whether the files could not be used and this is the stored copy of the last ones that could."""
        return bool(self.problems)

    def value(self, key: str) -> Any:
        """Return the effective value of the setting `key`."""
        return attrgetter(key)(self.config)

    def origin(self, key: str) -> Origin:
        """Return where the effective value of the setting `key` comes from."""
        return self.given[key].origin if key in self.given else DEFAULT


def load(sources: Sources, env: Mapping[str, str], overrides: Mapping[str, str]) -> Loaded:
    """Load and check everything, or raise ConfigError with all problems of all places.

    A later file wins over an earlier one key by key, a variable over the files, `overrides` (arguments: key -> text)
    over both. What is wrong is a problem even where something later wins over it.
    """
    gathering = gather(sources, env, overrides)
    problems = [*gathering.problems, *contradictions(gathering.given)]
    if problems:
        raise ConfigError(reasons.CONFIG_INVALID, tuple(problems))
    return build(gathering.given, gathering.files)


@dataclass(slots=True)
class Gathering:
    """What was found, good and bad, before it is decided what to do with it."""

    given: dict[str, Given] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add_document(self, data: bytes, place: str) -> None:
        """Lay the document over what is there; `place` names it."""
        entries, problems = document.parse(data, place)
        for entry in entries:
            self.add(SETTINGS[entry.key], entry.raw, Origin(place, entry.line), problems)
        self.problems += sorted(problems, key=lambda problem: problem.line or 0)

    def add(self, setting: Setting, raw: Raw, origin: Origin, problems: list[Problem]) -> None:
        """Take one value, or append why not to `problems`."""
        try:
            self.given[setting.key] = Given(_read(setting, raw), origin)
        except Refusal as refusal:
            problem = Problem(origin.place, origin.line, setting.key, refusal.message, refusal.hint)
            problems.append(problem)

    def add_texts(self, texts: Iterable[tuple[Setting, str, str]]) -> None:
        """Take (setting, value, place) from outside the files; what is wrong leaves the value as it was."""
        for setting, text, place in texts:
            self.add(setting, Raw(text), Origin(place), self.problems)


def gather(sources: Sources, env: Mapping[str, str], overrides: Mapping[str, str]) -> Gathering:
    """Collect values and problems from everywhere, in the order in which they apply."""
    gathering = Gathering()
    gathering.add_texts(stand_ins(env))
    found, unreadable = read_all(sources)
    gathering.problems += unreadable
    for path, data in found:
        gathering.files.append(path)
        gathering.add_document(data, shown(path))
    gathering.add_texts(outside(env, overrides))
    return gathering


def stand_ins(env: Mapping[str, str]) -> list[tuple[Setting, str, str]]:
    """Return what systemd's variables put in the place of defaults; they hold paths divided by colons."""
    return [
        (setting, env[setting.default_from].split(":")[0], setting.default_from)
        for setting in SETTINGS.values()
        if setting.default_from and env.get(setting.default_from)
    ]


def outside(env: Mapping[str, str], overrides: Mapping[str, str]) -> list[tuple[Setting, str, str]]:
    """Return what variables (empty is unset) and arguments set: (setting, text, place), the strongest last."""
    variables = [
        (setting, env[setting.environment], setting.environment)
        for setting in SETTINGS.values()
        if setting.environment and env.get(setting.environment)
    ]
    arguments = [(SETTINGS[key], text, SETTINGS[key].argument or key) for key, text in overrides.items()]
    return variables + arguments


def build(given: Mapping[str, Given], files: Iterable[Path], problems: tuple[Problem, ...] = ()) -> Loaded:
    """Make the configuration out of checked values."""
    config = Config(**{name: _section(name, given) for name in sections_in("")})
    loaded = Loaded(config, tuple(files), "", given, problems)
    effective = {key: written(setting, loaded.value(key)) for key, setting in SETTINGS.items()}
    digest = hashlib.sha256(json.dumps(effective, sort_keys=True).encode()).hexdigest()
    return Loaded(config, tuple(files), digest, given, problems)


def _section(section: str, given: Mapping[str, Given]) -> Any:
    values = {s.name: given[s.key].value for s in settings_in(section) if s.key in given}
    inner = {name.rpartition(".")[2]: _section(name, given) for name in sections_in(section)}
    return SECTIONS[section](**values, **inner)


def written(setting: Setting, value: Any) -> str | int | bool | list[str] | None:
    """Return `value` in the form in which a file holds it."""
    return None if value is None else setting.kind.write(value)


def contradictions(given: Mapping[str, Given]) -> list[Problem]:
    """Return the problems that single values do not show."""
    problems = []

    def problem(key: str, message: str, hint: str) -> None:
        origin = given[key].origin
        problems.append(Problem(origin.place, origin.line, key, message, hint))

    def effective(key: str) -> Any:
        return given[key].value if key in given else SETTINGS[key].default

    key, certificate = "identity.key_file", "identity.certificate_file"
    for one, other in ((key, certificate), (certificate, key)):
        if effective(one) is not None and effective(other) is None:
            problem(one, f"is set and {other} is not", "set both or none")
    lowest, highest = "tls.minimum_version", "tls.maximum_version"
    if effective(lowest) > effective(highest):  # "1.2" < "1.3"
        named = lowest if lowest in given else highest
        problem(named, f"{lowest} {effective(lowest)} is above {highest} {effective(highest)}", "swap them")
    unseen, any_name = "trust.first_use", "trust.ca_is_wfm_only"
    if effective(unseen) == "accept" and effective(any_name):  # whoever announces itself first would be believed
        message = f"is true while {unseen} is accept: nobody vouches for what a root CA taken unseen vouches for"
        problem(any_name, message, f"set {unseen} to off and name the root CA in trust.ca_file")
    return problems


def _read(setting: Setting, raw: Raw) -> Any:
    if raw.type != "null":
        return setting.kind.read(raw)
    if setting.default is None and raw.text:
        return None  # `null` in a drop-in takes back what a file before it set
    if not raw.text:
        raise Refusal("has no value", "give it one, or comment the line out")
    raise Refusal(f"expected {setting.kind.expected}, not nothing", "comment the line out to have the default")
