"""The plot of the storm, drawn without a library: devices a second after a WFM's return, one small picture each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 320
HEIGHT: Final = 120
LEFT: Final = 44
TOP: Final = 34
COLUMNS: Final = 2
SECONDS: Final = 600


@dataclass(frozen=True)
class Curve:
    """One scenario: how many devices asked in each second from the return on."""

    title: str
    counts: Sequence[int]


def svg(curves: Sequence[Curve], limit: int) -> str:
    """Return the picture; `limit` is the line that no second may cross."""
    rows = -(-len(curves) // COLUMNS)
    width, height = COLUMNS * (WIDTH + LEFT + 16), rows * (HEIGHT + TOP + 34)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, curve in enumerate(curves):
        left = LEFT + (number % COLUMNS) * (WIDTH + LEFT + 16)
        parts += _panel(curve, limit, left, TOP + (number // COLUMNS) * (HEIGHT + TOP + 34))
    return "\n".join([*parts, "</svg>", ""])


def _panel(curve: Curve, limit: int, left: int, top: int) -> list[str]:
    ceiling = limit * 1.25
    bottom = top + HEIGHT

    def y(count: float) -> float:
        return round(bottom - HEIGHT * min(count, ceiling) / ceiling, 1)

    counts = list(curve.counts[:SECONDS])
    points = " ".join(f"{round(left + WIDTH * at / SECONDS, 1)},{y(count)}" for at, count in enumerate(counts))
    marks = [
        f'<text x="{round(left + WIDTH * at / SECONDS)}" y="{bottom + 14}" text-anchor="middle">{at // 60} min</text>'
        for at in range(0, SECONDS + 1, 120)
    ]
    return [
        f'<text x="{left}" y="{top - 8}" font-weight="bold">{curve.title}</text>',
        f'<polygon points="{left},{bottom} {points} {round(left + WIDTH * len(counts) / SECONDS, 1)},{bottom}" '
        'fill="#4477aa"/>',
        f'<path d="M{left} {top}V{bottom}H{left + WIDTH}" fill="none" stroke="black"/>',
        f'<path d="M{left} {y(limit)}h{WIDTH}" stroke="#cc3311" stroke-dasharray="5 3"/>',
        f'<text x="{left - 4}" y="{y(limit) + 4}" text-anchor="end">{limit}/s</text>',
        f'<text x="{left - 4}" y="{bottom + 4}" text-anchor="end">0</text>',
        *marks,
    ]
