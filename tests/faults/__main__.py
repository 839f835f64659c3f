"""The long campaign. `make faults`, or with ARGS="--quick", "--seed 7", "crash-points damage".

Prints how long each suite took and a table of figures at the end. The first broken promise ends it with 1; the seed
repeats it. A suite that cannot be carried out here (no root, no namespaces, a program that is missing) is left out, and
said to be, and the exit code is 3: a campaign with a gap is not one that was passed.
"""

from __future__ import annotations

import argparse
import sys
import traceback

from tests.faults import (
    breaking,
    crash_points,
    damage,
    endurance,
    errors,
    fuzz,
    leaks,
    mirror_cuts,
    network,
    onboardings,
    power_cuts,
    quotas,
    real_disks,
    renewals,
    reports,
    storm,
    token_cuts,
)
from tests.faults.campaign import Impossible, Run, Suite, carry_out

SUITES: dict[str, tuple[Suite, int, int]] = {
    "crash-points": (crash_points.crash_points, 4, 120),
    "killed-onboardings": (onboardings.onboardings, 1, 900),
    "killed-token-onboardings": (onboardings.token_onboardings, 1, 600),
    "power-cuts": (power_cuts.power_cuts, 1, 300),
    "token-cuts": (token_cuts.token_cuts, 1, 600),
    "mirror-cuts": (mirror_cuts.mirror_cuts, 1, 120),
    "syncs-removed": (power_cuts.syncs_removed, 1, 120),
    "real-power-cuts": (real_disks.real_power_cuts, 1, 180),
    "killed-reports": (reports.killed_reports, 1, 400),
    "killed-token-reports": (reports.killed_token_reports, 1, 400),
    "reports-and-power-cuts": (reports.reports_and_power_cuts, 1, 180),
    "failing-calls": (breaking.failing_calls, 1, 60),
    "errors": (errors.errors, 1, 400),
    "small-disks": (errors.small_disks, 1, 120),
    "quotas": (quotas.quotas, 1, 200),
    "damage": (damage.damage, 1, 400),
    "damaged-daemons": (damage.damaged_daemons, 1, 200),
    "leaks": (leaks.leaks, 1, 300),
    "fuzz": (fuzz.fuzz, 1, 900),
    "storm": (storm.storm, 1, 3600),
    "endurance": (endurance.endurance, 1, 600),
    "renewals": (renewals.renewals, 1, 200),
    "flash": (endurance.flash, 1, 300),
    "network": (network.network, 1, 900),
}
"""Name -> the suite, how many seeds in the long campaign, and the seconds that it may take."""

QUICK = 0.05
INCOMPLETE = 3


def main() -> int:
    """Carry out the suites that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="margod's fault campaign")
    parser.add_argument("suite", nargs="*", help=f"one of {', '.join(SUITES)}; all without")
    parser.add_argument("--quick", action="store_true", help="a twentieth of each")
    parser.add_argument("--seed", type=int, default=1, help="where chance begins (default: 1)")
    options = parser.parse_args()
    if unknown := set(options.suite) - set(SUITES):
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    done: dict[str, list[Run]] = {}
    left_out: dict[str, str] = {}
    for name in options.suite or SUITES:
        suite, seeds, _ = SUITES[name]
        for seed in range(options.seed, options.seed + (1 if options.quick else seeds)):
            try:
                run = carry_out(suite, seed, QUICK if options.quick else 1.0)
            except Impossible as why:
                left_out[name] = str(why)
                print(f"{name}: LEFT OUT: {why}", flush=True)
                break
            except BaseException as error:
                if not isinstance(error, KeyboardInterrupt):
                    traceback.print_exc()
                table(done)
                quick = "--quick " if options.quick else ""
                print(f"\nbroken: {name}: {_first(error)}\nagain: make faults ARGS='{quick}--seed {seed} {name}'")
                return 1
            done.setdefault(name, []).append(run)
            took = f"{run.seconds_taken:.0f} s, {run.processor_seconds:.0f} s of processor time"
            print(f"{name}, seed {seed}: {took}", flush=True)
            if run.gaps:
                left_out[name] = "; ".join(run.gaps)
                print(f"{name}: LEFT OUT: {left_out[name]}", flush=True)
    table(done)
    for name, why_not in left_out.items():
        print(f"\nleft out, so nothing is known of it: {name}: {why_not}")
    return INCOMPLETE if left_out else 0


def table(done: dict[str, list[Run]]) -> None:
    """Print what was done, and how long it took against what it may take."""
    print("\n| suite | what | number |\n|---|---|---|")
    for name, runs in done.items():
        budget = SUITES[name][2]
        taken = sum(run.seconds_taken for run in runs)
        used = sum(run.processor_seconds for run in runs)
        print(f"| {name} | seconds (budget {budget}) | {taken:.0f} |\n| | of processor time | {used:.0f} |")
        for what in dict.fromkeys(what for run in runs for what in run.figures):
            if number := sum(run.figures[what] for run in runs):
                print(f"| | {what} | {number:,} |")


def _first(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
