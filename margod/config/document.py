"""One YAML document -> what it sets, with line numbers, and everything that is wrong with its shape.

YAML is taken in the small: sections (mappings) with settings and sections in them; a setting is a scalar or a list of
texts. Anchors, aliases, merge keys and duplicate keys are refused; depth and number of nodes are bounded while the
document is composed, so that no input costs more than its size. PyYAML's pure-Python loader is used even where its C
part is there: one behaviour everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import yaml

from margod.config.settings import SECTIONS, SETTINGS, sections_in, settings_in
from margod.config.values import Raw, RawType
from margod.model.errors import Problem
from margod.model.text import clean

DEEPEST: Final = 8
"""Levels of nesting; settings need four. Composing recurses, so this also guards the stack."""
MOST_NODES: Final = 2_000
"""Keys and values in one file; all settings together have fewer than 100."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One known setting as it stands in a document; `line` counts from 1."""

    key: str
    raw: Raw
    line: int


def parse(data: bytes, file: str) -> tuple[list[Entry], list[Problem]]:
    """Return the settings of the document `data` and the problems of its shape, both in the order of the lines.

    `file` is the name that problems carry. Values are not looked at. An empty document sets nothing.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return [], [Problem(file, line, "", "is not UTF-8", "save it as UTF-8")]
    if (found := yaml.reader.Reader.NON_PRINTABLE.search(text)) is not None:
        line = text.count("\n", 0, found.start()) + 1
        what = f"has the character U+{ord(found.group()):04X}, which is not text"
        return [], [Problem(file, line, "", what, "is it the right file?")]
    try:
        root = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        return [], [_syntax_problem(error, text, file)]
    except (yaml.YAMLError, ValueError, LookupError, RecursionError) as error:
        # PyYAML lets some slip: `"\U00110000"` is a bare ValueError from chr().
        return [], [Problem(file, None, "", f"is not YAML: {clean(str(error), 100)}")]
    walk = _Walk(file)
    walk.root(root)
    return walk.entries, sorted(walk.problems, key=lambda problem: problem.line or 0)


class _TooMuch(yaml.composer.ComposerError):
    """Something that YAML has and a configuration of margod does not."""


class _Loader(yaml.SafeLoader):
    """Composes nodes only (nothing is ever constructed) and refuses what could grow."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it bare
        self._nodes += 1
        self._depth += 1
        what = ""
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            what = "has an anchor or alias (& or *), which is not taken here"
        elif self._depth > DEEPEST:
            what = "is nested too deeply"
        elif self._nodes > MOST_NODES:
            what = f"has more than {MOST_NODES} keys and values"
        if what:
            raise _TooMuch(None, None, what, event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Walk:
    """Goes through the composed nodes once and collects entries and problems."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.entries: list[Entry] = []
        self.problems: list[Problem] = []

    def root(self, node: yaml.Node | None) -> None:
        if node is None or _is_empty(node):
            return
        if not isinstance(node, yaml.MappingNode):
            self._problem(node, "", f"expected sections such as `wfm:`, not {_describe(node)}")
            return
        for name, value in self._pairs(node, ""):
            if name.value in sections_in(""):
                self._section(name.value, value)
            else:
                self._problem(name, clean(name.value, 60), "is not a section", _meant(name.value, ""))

    def _section(self, section: str, node: yaml.Node) -> None:
        if _is_empty(node):
            return
        if not isinstance(node, yaml.MappingNode):
            self._problem(node, section, f"expected settings below it, not {_describe(node)}")
            return
        for name, value in self._pairs(node, section):
            key = f"{section}.{name.value}"
            if "." not in name.value and key in SECTIONS:
                self._section(key, value)
            elif "." not in name.value and key in SETTINGS:
                self.entries.append(Entry(key, _raw(value), _line(name)))
            else:
                shown = f"{section}.{clean(name.value, 60)}"
                self._problem(name, shown, "is not a setting", _meant(name.value, section))

    def _pairs(self, node: yaml.MappingNode, section: str) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        """Yield the usable pairs of a mapping; of a key that stands twice only the first."""
        lines: dict[str, int] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode) or name.tag != "tag:yaml.org,2002:str":
                merge = isinstance(name, yaml.ScalarNode) and name.tag == "tag:yaml.org,2002:merge"
                what = "merge keys (<<) are not taken here" if merge else "a key must be a plain name"
                self._problem(name, section, what)
            elif name.value in lines:
                key = ".".join(filter(None, (section, clean(name.value, 60))))
                self._problem(name, key, f"stands twice, first in line {lines[name.value]}", "remove one of them")
            else:
                lines[name.value] = _line(name)
                yield name, value

    def _problem(self, node: yaml.Node, key: str, message: str, hint: str = "") -> None:
        self.problems.append(Problem(self.file, _line(node), key, message, hint))


def _raw(node: yaml.Node) -> Raw:
    if isinstance(node, yaml.ScalarNode):
        return Raw(node.value, _TYPES.get(node.tag, "other"))
    if isinstance(node, yaml.SequenceNode):
        texts = tuple(item.value for item in node.value if _TYPES.get(item.tag) == "text")
        if len(texts) < len(node.value):
            return Raw("", "list", stray=_stray(node))
        if not texts:
            return Raw("", "list", empty=True)
        return Raw("" if any("," in text for text in texts) else ",".join(texts), "list", texts)
    return Raw("", "mapping")


def _stray(node: yaml.SequenceNode) -> str:
    item = next(item for item in node.value if _TYPES.get(item.tag) != "text")
    return (str(item.value) or "null") if isinstance(item, yaml.ScalarNode) else _describe(item)


def _describe(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return "a single value"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _meant(name: str, section: str) -> str:
    """Return a hint for an unknown name: another place for it, or a name that looks like it."""
    from difflib import get_close_matches

    word = name[:60].lower()
    whole = [key for key in (*SETTINGS, *SECTIONS) if "." in key and (key == word or key.split(".")[-1] == word)]
    if whole and (not section or whole[0].startswith(f"{section}.")):
        *owners, setting = whole[0].removeprefix(f"{section}.").split(".")
        if owners:
            return " ".join([f"write `{setting}:`", *(f"indented below `{owner}:`" for owner in reversed(owners))])
    known = [setting.name for setting in settings_in(section)] + [name.split(".")[-1] for name in sections_in(section)]
    if close := get_close_matches(word.replace("-", "_"), known, n=1):
        return f"did you mean {close[0]}?"
    if whole:
        return f"did you mean {whole[0]}?"
    return f"there are {', '.join(known)}"


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = None if mark is None else int(mark.line) + 1
    said = clean(error.problem or error.context or "", 100)
    if isinstance(error, _TooMuch):
        return Problem(file, line, "", said)
    lines = text.split("\n")
    near = lines[max(0, (line or 1) - 2) : line or 1]
    hint = "indent with spaces, not with tabs" if any(re.match(r"\s*\t", one) for one in near) else ""
    return Problem(file, line, "", f"is not YAML: {said}", hint)


_TYPES: Final[dict[str, RawType]] = {
    "tag:yaml.org,2002:str": "text",
    "tag:yaml.org,2002:int": "integer",
    "tag:yaml.org,2002:float": "number",
    "tag:yaml.org,2002:bool": "boolean",
    "tag:yaml.org,2002:null": "null",
    "tag:yaml.org,2002:timestamp": "date",
}
