"""YAML in the small -> plain values: no anchors, no merges, no duplicate names, bounded while it is composed."""

from __future__ import annotations

from typing import Any

import yaml


def parse(data: bytes, *, deepest: int, most: int) -> object:
    """Return the one document in `data`, UTF-8. Raises ValueError for what is not that, or is more than the bounds."""
    try:
        loader = _Loader(data.decode("utf-8-sig"))
        loader.deepest, loader.most = deepest, most
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f"line {mark.line + 1}: "
        raise ValueError(f"{where}{error.problem or error.context}") from None
    except (
        yaml.YAMLError,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        ArithmeticError,
        RecursionError,
    ) as error:
        # PyYAML makes no error of its own of what a tag promises and the text is not (`!!timestamp x`, `!!set [a]`).
        raise ValueError(str(error)) from None


class _Loader(yaml.SafeLoader):
    """Refuses what could grow or what could be read in two ways."""

    deepest = most = 0

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it bare
        self._nodes += 1
        self._depth += 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(None, None, "has an anchor or alias (& or *)", event.start_mark)
        if self._depth > self.deepest or self._nodes > 2 * self.most:
            raise yaml.composer.ComposerError(None, None, "is nested too deeply or too long", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode)]
        if len(names) != len(node.value) or len(set(names)) != len(names):
            raise yaml.constructor.ConstructorError(None, None, "a name stands twice or is none", node.start_mark)
        if any(name.tag == "tag:yaml.org,2002:merge" for name, _ in node.value):
            raise yaml.constructor.ConstructorError(None, None, "has a merge (<<)", node.start_mark)
        return super().construct_mapping(node, deep)
