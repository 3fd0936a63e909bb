"""The page that shows a roll-out: videos beside their sentences, actions, success table; no network."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from policies.runtime.page import PAGE, SCRIPT, STYLE
from policies.runtime.plots import ACTION_COLORS, action_plot, interval_bar
from policies.runtime.results import EpisodeResult
from policies.runtime.video import POINT_COLORS
from vla.folders import write_whole

__all__ = ["write_page"]

_OUTCOMES = {
    "success": ("Success", "ok"),
    "wrong_object": ("Wrong object", "bad"),
    "wrong_place": ("Wrong place", "warn"),
    "dropped": ("Dropped", "warn"),
    "timeout": ("Out of time", "idle"),
}
JOINTS = ("shoulder pan", "shoulder lift", "elbow flex", "wrist flex", "wrist roll", "gripper")


def write_page(folder: Path, title: str, metrics: dict[str, Any], results: Sequence[EpisodeResult]) -> Path:
    """Write `folder`/index.html for metrics (see ``summarize``) and episodes; shows those with a video."""
    shown = sorted((r for r in results if r.video is not None), key=lambda r: r.index)
    page = PAGE.format(
        title=escape(title),
        style=STYLE,
        facts=_facts(metrics),
        cards=_cards(metrics),
        outcomes=_outcomes(metrics),
        table=_table(metrics),
        swap=_swap(metrics),
        legend=_legend(),
        shown=f"{len(shown)} of {metrics['episodes']}",
        episodes="".join(_episode(r) for r in shown) or "<p class='quiet'>No videos were asked for.</p>",
        script=SCRIPT,
    )
    path = folder / "index.html"
    write_whole(path, page)
    return path


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.1f}%".replace(".0%", "%")


def _facts(metrics: dict[str, Any]) -> str:
    facts = {
        "policy": metrics["policy"],
        "split": metrics["split"],
        "seed": metrics["seed"],
        "commit": metrics["commit"],
    }
    return "".join(f"<span><b>{escape(k)}</b> {escape(str(v))}</span>" for k, v in facts.items())


def _cards(metrics: dict[str, Any]) -> str:
    low, high = metrics["interval"]
    successes = sum(task["successes"] for task in metrics["tasks"].values())
    hz = metrics["control_hz"]
    cards = [
        ("Success", _percent(metrics["success_rate"]), f"{successes} of {metrics['episodes']} episodes"),
        ("95% interval", f"{_percent(low)} – {_percent(high)}", "Wilson score"),
        ("Wrong object", _percent(metrics["wrong_object_rate"]), "touched or moved another one instead"),
        (
            "Control rate",
            "–" if hz is None else f"{hz:,.0f} Hz",
            "steps a second the policy allows; 20 needed",
        ),
    ]
    return "".join(
        f"<div class='card'><h3>{name}</h3><p class='big'>{value}</p><p class='quiet'>{note}</p></div>"
        for name, value, note in cards
    )


def _outcomes(metrics: dict[str, Any]) -> str:
    total = max(1, metrics["episodes"])
    order = [*_OUTCOMES, *(o for o in metrics["outcomes"] if o not in _OUTCOMES)]
    parts, names = "", ""
    for outcome in order:
        count = metrics["outcomes"].get(outcome, 0)
        if count:
            name, kind = _OUTCOMES.get(outcome, (outcome, "idle"))
            parts += (
                f"<i class='{kind}' style='flex:{count / total:.4f}' title='{escape(name)}: {count}'></i>"
            )
            names += f"<span><i class='dot {kind}'></i>{escape(name)} <b>{count}</b></span>"
    return f"<div class='stack'>{parts}</div><div class='legend'>{names}</div>"


def _table(metrics: dict[str, Any]) -> str:
    rows = ""
    for name, task in metrics["tasks"].items():
        rows += (
            f"<tr><th>{escape(name.replace('_', ' '))}</th>"
            f"<td class='number'>{task['successes']} / {task['episodes']}</td>"
            f"<td class='number'><b>{_percent(task['success_rate'])}</b></td>"
            f"<td class='wide'>{interval_bar(task['success_rate'], task['interval'])}</td>"
            f"<td class='number'>{_percent(task['interval'][0])} – {_percent(task['interval'][1])}</td>"
            f"<td class='number'>{_percent(task['wrong_object_rate'])}</td></tr>"
        )
    return rows


def _swap(metrics: dict[str, Any]) -> str:
    swap = metrics.get("swap")
    if not swap:
        return ""
    low, high = swap["interval"]
    return (
        "<section><h2>Swap test</h2><p>The same scene, once with its own sentence and once with the sentence "
        f"about another object of it. The arm went to the newly named object in <b>{swap['followed']} of "
        f"{swap['pairs']}</b> pairs: <b>{_percent(swap['rate'])}</b> "
        f"({_percent(low)} – {_percent(high)}).</p></section>"
    )


def _legend() -> str:
    joints = "".join(
        f"<span><i class='line' style='background:{color}'></i>{name}</span>"
        for name, color in zip(JOINTS, ACTION_COLORS, strict=True)
    )
    rings = "".join(
        f"<span><i class='ring' style='border-color:rgb{color}'></i>{name}</span>"
        for name, color in zip(
            ("where the policy sees its target", "and its destination"), POINT_COLORS, strict=True
        )
    )
    return joints + rings


def _episode(result: EpisodeResult) -> str:
    name, kind = _OUTCOMES.get(result.outcome, (result.outcome, "idle"))
    video = escape(f"videos/{result.video}")
    facts = [escape(result.skill.replace("_", " "))]
    if result.outcome == "wrong_object" and result.first_touched:
        facts.append(f"went to {escape(result.first_touched)}")
    if result.swapped:
        facts.append("swapped sentence")
    facts += [f"{result.steps / 20:.1f} s", f"seed {result.seed}"]
    return (
        "<article>"
        f"<video muted loop playsinline controls preload='none' poster='{video[:-4]}.jpg' src='{video}'>"
        "</video>"
        f"<div class='body'><h3>“{escape(result.task)}”</h3>"
        f"<p class='quiet'><span class='badge {kind}'>{escape(name)}</span> {' · '.join(facts)}</p>"
        f"{action_plot(result.actions, result.states)}</div></article>"
    )
