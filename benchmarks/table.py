"""What the measurements print with: rows of one table, the spread of ratios, processor time. Measures nothing by itself."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Sequence
from pathlib import Path


def row(name: str, value: str | float, goal: str = "", unit: str = "") -> None:
    """One line of the table; a number is printed with three digits after the point."""
    text = value if isinstance(value, str) else f"{value:.3f}"
    print(f"{name:<84} {text:>24} {unit:<5} {goal}".rstrip(), flush=True)


def spread(ratios: Sequence[float]) -> str:
    """min / median / max."""
    return f"{min(ratios):.2f} / {statistics.median(ratios):.2f} / {max(ratios):.2f}"


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that at least so many per cent of them do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, its own and the kernel's for it, in steps of 10 ms (proc_pid_stat(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
