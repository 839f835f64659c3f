"""An agent: keeps a folder as the WFM wants it, one YAML file a deployment, and reports each as installed.

python example_agent.py FOLDER      as a member of the group margod-agent, beside a margod that is enrolled

It may be stopped at any moment: it begins again with the folder, and a report that was taken is margod's to deliver.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from margod.client import DaemonUnreachable, RequestRefused
from margod.client.agent import Agent


def follow(agent: Agent, folder: Path, reported: dict[str, object]) -> None:
    """Do what the WFM wants, now and whenever that changes; `reported` has what is installed, and who was told so."""
    wanted = None
    while wanted := agent.wait_for_deployments(after=wanted):
        whose = (known := agent.identity()) and (known["wfm_url"], known["client_id"])  # another WFM was told nothing
        digests = {each["deploymentId"]: (each["digest"], whose) for each in wanted["deployments"]}
        for deployment_id, digest in digests.items():
            if reported.get(deployment_id) != digest:
                install(agent, deployment_id, folder / f"{deployment_id}.yaml")
                reported[deployment_id] = digest
        for file in sorted(folder.glob("*.yaml")):
            if file.stem not in digests:
                agent.report_state(file.stem, "removing")
                file.unlink()
                agent.report_state(file.stem, "removed")
                print(f"removed {file}", flush=True)
                reported.pop(file.stem, None)
        agent.adopted(wanted["manifestVersion"])


def install(agent: Agent, deployment_id: str, file: Path) -> None:
    """Have the file hold the deployment's YAML, and say so."""
    text = agent.deployment(deployment_id)
    if not file.exists() or file.read_bytes() != text:
        agent.report_state(deployment_id, "installing")
        aside = file.with_suffix(".new")
        aside.write_bytes(text)
        aside.replace(file)
    agent.report_state(deployment_id, "installed")
    print(f"installed {file}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Keeps FOLDER as the WFM wants it, and reports.")
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    local, target, known = Agent(), parser.parse_args().folder, dict[str, object]()
    target.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            follow(local, target, known)
        except (DaemonUnreachable, RequestRefused) as error:  # margod restarts, or what was wanted changed meanwhile
            print(f"{error}; trying again", flush=True)
            time.sleep(2)
