"""The fault matrix as a table."""

from collections.abc import Mapping, Sequence

from policies.runtime.faults.trial import Case, Outcome

__all__ = ["matrix"]


def matrix(outcomes: Sequence[tuple[Case, Outcome]], about: Mapping[str, str]) -> str:
    """Markdown. about: what the trials were made with, in the order to be told."""
    lines = ["# Faults", "", *(f"- {key}: {value}" for key, value in about.items()), ""]
    lines += [
        "Time to hold: from the fault to the last command that moved the arm, braking within all limits "
        "included. Not in the log: commands that reached the arm and are missing from the run's log.",
        "",
        "| fault | | what the run did | reason | time to hold, s | limits broken | not in the log |",
        "|---|---|---|---|---|---|---|",
    ]
    for case, outcome in outcomes:
        hold = "-" if outcome.hold_s is None else f"{outcome.hold_s:.2f}"
        did = outcome.did if outcome.did != "ends" else f"ends ({outcome.ending})"
        wrong = "" if not outcome.faults(case) else f" **{'; '.join(outcome.faults(case))}**"
        broken = str(len(outcome.limits))
        missing = f"{outcome.sent - outcome.logged} of {outcome.sent}"
        reason = outcome.reason or "-"
        lines.append(
            f"| {case.name} | {case.group} | {did}{wrong} | {reason} | {hold} | {broken} | {missing} |"
        )
    well = sum(not outcome.faults(case) for case, outcome in outcomes)
    lines += ["", f"{well} of {len(outcomes)} faults had the outcome that they should have."]
    return "\n".join(lines) + "\n"
