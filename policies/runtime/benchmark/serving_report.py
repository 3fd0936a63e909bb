"""What the load measurement and the soak say: lines while they run, and a page that says how to repeat it."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from policies.runtime.benchmark.table import markdown

__all__ = ["line", "load_table", "machine", "overrides", "page", "soak_lines"]

Row = Mapping[str, Any]

HEAD = (
    "protocol", "clients", "batching", "answers/s", "p50, ms", "p99, ms", "observations a call",
    "answered", "refused", "lost", "crossed", "server's memory, MiB",
)  # fmt: skip

WORDS = (
    "Clients ask again as soon as they are answered. Latency: from the question, encoded by the client, to "
    "its decoded answer. Batching: the most observations that one call of the policy answers, and `no` where "
    "that is one; beside it, how many it was on average. Answered: within the seconds that are counted. "
    "Refused: with a typed error. Lost: no answer, or the connection was. Crossed: the answer to another "
    "question. Memory: of the server's process before and after the measurement (resident)."
)


def line(row: Row) -> str:
    """One measurement."""
    return (
        f"{row['protocol']}, {row['clients']} {'client' if row['clients'] == 1 else 'clients'}, "
        f"batching {_batching(row)}: {row['requests_per_s']:.0f} answers/s, p50 {row['p50_ms']:.1f} ms, "
        f"p99 {row['p99_ms']:.1f} ms; {row['requests']} answered, {_refused(row)} refused, "
        f"{row['lost']} lost, {row['crossed']} crossed; server {_memory(row)} MiB"
    )


def load_table(rows: Sequence[Row]) -> str:
    """All of them as Markdown."""
    cells = [
        [
            row["protocol"],
            str(row["clients"]),
            _batching(row),
            f"{row['requests_per_s']:.0f}",
            f"{row['p50_ms']:.1f}",
            f"{row['p99_ms']:.1f}",
            "-" if row["mean_batch"] is None else f"{row['mean_batch']:.1f}",
            str(row["requests"]),
            _refused(row),
            str(row["lost"]),
            str(row["crossed"]),
            _memory(row),
        ]
        for row in rows
    ]
    return markdown(HEAD, cells)


def soak_lines(found: Row) -> list[str]:
    """What came of a soak."""
    slope = found["memory_slope_mib_a_minute"]
    grew = "too short to say how it grows" if slope is None else f"{slope:+.2f} MiB a minute since then"
    return [
        f"{found['answers']} answers in {found['seconds']:.0f} s, p50 {found['p50_ms']:.1f} ms, "
        f"p99 {found['p99_ms']:.1f} ms, {_refused(found)} refused",
        f"{found['lost']} answers lost, {found['crossed']} crossed; client processes killed meanwhile: "
        f"{found['killed']}",
        f"{found['damaged']} damaged messages sent, {found['believed']} of them believed (answered by a "
        "chunk)",
        f"server's memory: {found['memory_start_mib']:.1f} MiB before the first client, "
        f"{found['memory_first_mib']:.1f} after a fifth of the time, {found['memory_last_mib']:.1f} at the "
        f"end, at most {found['memory_most_mib']:.1f}; {grew}",
        f"sessions left open: {found['sessions_left']}",
    ]


def page(command: str, load: Sequence[Row], soak: Row | None, load_settings: Row, soak_settings: Row) -> str:
    """The results as a Markdown page. load, soak: as `policies.runtime.benchmark.kept` gives them."""
    every = [*load, *([soak] if soak else [])]
    times = sorted(cell["at"] for cell in every)
    commits = sorted({cell["commit"] for cell in every})
    parts = [
        "# The policy server under load",
        f"- Made by: `{command}`\n- On: {machine()}; server and clients share it\n"
        f"- Measured: {' to '.join(sorted({times[0], times[-1]}))}\n- Commit: {', '.join(commits)}",
    ]
    if load:
        parts += [
            "## Load",
            f"{_served(load_settings)} {WORDS}",
            load_table([cell["found"] for cell in load]),
        ]
    if soak:
        what = (
            f"{soak_settings['minutes']:g} minutes, {soak_settings['clients']} clients of all protocols "
            f"without a pause; {100 * soak_settings['damaged']:g} % of their messages are damaged (noise, "
            "half a message, nested headers, more than is read). Beside them a client process is killed with "
            f"SIGKILL every {soak_settings['kill_s']:g} s. {_served(soak_settings['load'])}"
        )
        parts += ["## Soak", what, "\n".join(f"- {each}" for each in soak_lines(soak["found"]))]
    return "\n\n".join(parts) + "\n"


def machine() -> str:
    """Processor and cores, for people."""
    names = []
    try:
        for each in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if each.startswith("model name"):
                names.append(each.partition(":")[2].strip())
    except OSError:
        pass
    count = len(os.sched_getaffinity(0))
    return (
        f"{names[0] if names else os.uname().machine}, {count} {'core' if count == 1 else 'cores'} of it used"
    )


def overrides(config: Mapping[str, Any], default: Mapping[str, Any], above: str = "") -> list[str]:
    """What is to be given to a command so that its settings become these."""
    found = []
    for key, value in config.items():
        if isinstance(value, Mapping):
            found += overrides(value, default[key], f"{above}{key}.")
        elif value != default[key]:
            told = f"[{','.join(map(_told, value))}]" if isinstance(value, list | tuple) else _told(value)
            found.append(shlex.quote(f"{above}{key}={told}"))
    return found


def _told(value: Any) -> str:
    """As hydra reads it."""
    text = str(value)
    if not isinstance(value, str) or re.fullmatch(r"[\w./-]+", text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _served(load: Row) -> str:
    pictures = f"two pictures of {load['side']} x {load['side']} and {load['state']} numbers a question"
    if load["policy"] != "echo":
        return f"The policy `{load['policy']}`; {pictures}."
    return (
        f"The policy echoes what it is shown, so that every answer is checked; a call of it takes "
        f"{load['call_ms']:g} ms and {load['each_ms']:g} ms more for each observation; {pictures}."
    )


def _batching(row: Row) -> str:
    return "no" if row["batch"] == 1 else f"up to {row['batch']}"


def _refused(row: Row) -> str:
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(row["refused"].items()))
    return f"{sum(row['refused'].values())}{f' ({kinds})' if kinds else ''}"


def _memory(row: Row) -> str:
    first, last = row["memory_mib"]
    return f"{first:.0f} to {last:.0f}"
