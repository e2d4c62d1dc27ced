"""What many seeds showed, added up, and how a failure is shown."""

from collections import Counter
from typing import Any

from simulator.runs import Result
from simulator.worlds import BEGINS_AT


class Summary:
    """Figures over all seeds that have been run."""

    def __init__(self) -> None:
        self.seeds = self.steps = 0
        self.seconds = 0.0
        self.faults: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.failed: list[Result] = []

    def add(self, result: Result) -> None:
        self.seeds += 1
        self.steps += result.steps
        self.seconds += result.seconds
        self.faults += result.faults
        self.counts += result.counts
        if result.violations:
            self.failed.append(result)

    def figures(self) -> dict[str, Any]:
        return {
            "seeds": self.seeds,
            "steps": self.steps,
            "virtual_seconds": round(self.seconds, 1),
            "faults": dict(sorted(self.faults.items())),
            "counts": dict(sorted(self.counts.items())),
            "violations": [
                {
                    "seed": result.seed,
                    "promise": violation.promise,
                    "at": violation.at - BEGINS_AT,
                    "what": violation.what,
                }
                for result in self.failed
                for violation in result.violations
            ],
        }

    def text(self) -> str:
        figures = self.figures()
        lines = [f"{self.seeds} seeds, {self.steps} steps, {figures['virtual_seconds']:.0f} s of virtual time"]
        lines.append("faults: " + (", ".join(f"{kind} {count}" for kind, count in figures["faults"].items()) or "none"))
        lines.append("seen: " + ", ".join(f"{name} {count}" for name, count in figures["counts"].items()))
        lines.append(f"violations: {len(self.failed)}")
        return "\n".join(lines)

    @staticmethod
    def failure(result: Result, bug: str | None, events: int) -> str:
        """What broke in one seed, the last events, and how to see all of it again."""
        violation = result.violations[0]
        lines = [
            f"seed {result.seed} ({result.shape}) breaks '{violation.promise}' at {violation.at - BEGINS_AT:.4f} s:"
        ]
        lines.append(f"  {violation.what}")
        lines += [f"    {event}" for event in result.events[-events:] if events]
        option = f" --bug {bug}" if bug else ""
        lines.append(f"  again, with everything: python -m simulator --seeds {result.seed}{option} --trace")
        return "\n".join(lines)
