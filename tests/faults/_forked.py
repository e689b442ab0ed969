"""Try many inputs in child processes, go on behind one that kills its child, and tell."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

HANG_S = 10


def outcomes_of(
    n: int, try_one: Callable[[int], str], set_up: Callable[[], None] = lambda: None
) -> list[str]:
    """Return what became of each input: what `try_one` says, or how its process ended.

    `try_one` gets the input's number and has 10 seconds; `set_up` is called in each child.
    """
    outcomes: list[str] = []
    while len(outcomes) < n:
        receive, report = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(receive)
            _try_all(range(len(outcomes), n), try_one, set_up, report)
        os.close(report)
        said = b""
        while piece := os.read(receive, 65536):
            said += piece
        os.close(receive)
        _, status = os.waitpid(child, 0)
        outcomes += said.decode().split("\n")[:-1]
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            outcomes.append("hangs" if number == signal.SIGALRM else f"killed by signal {number}")
        elif len(outcomes) < n:
            outcomes.append(f"its process ended with status {os.WEXITSTATUS(status)}")
    return outcomes


def tell(results: list[dict[str, Any]]) -> int:
    """Print what the kinds came to on a line of JSON; return the status, 0 without findings."""
    n_findings = sum(len(result["findings"]) for result in results)
    total = {"runs": sum(result["runs"] for result in results), "findings": n_findings}
    sys.stdout.write(json.dumps({**total, "kinds": results}) + "\n")
    return int(bool(n_findings))


def _try_all(
    positions: range, try_one: Callable[[int], str], set_up: Callable[[], None], report: int
) -> None:
    status = 1
    try:
        set_up()
        for position in positions:
            signal.alarm(HANG_S)
            try:
                outcome = try_one(position)
            except BaseException as err:  # noqa: BLE001 - whatever is raised is the finding
                outcome = " ".join(f"{type(err).__name__}: {err}".split())[:300]
            os.write(report, f"{outcome}\n".encode())
        status = 0
    finally:
        os._exit(status)
