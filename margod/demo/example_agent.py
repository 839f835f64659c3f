"""An agent: keeps a folder as the WFM wants it, one YAML file a deployment, and reports each as installed.

python example_agent.py FOLDER      as a member of the group margod-agent, beside a margod that is enrolled

It takes the place of whatever would start the workloads. It may be stopped at any moment: it begins again with what the
folder holds, and a report that was taken is margod's to deliver.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from margod.client import DaemonUnreachable, RequestRefused
from margod.client.agent import Agent


def follow(agent: Agent, folder: Path) -> None:
    """Do what the WFM wants, now and whenever that changes."""
    version = None
    while wanted := agent.wait_for_deployments(after=version):
        ids = {each["deploymentId"] for each in wanted["deployments"]}
        for deployment_id in sorted(ids):
            install(agent, deployment_id, folder / f"{deployment_id}.yaml", anew=version is None)
        for file in sorted(folder.glob("*.yaml")):
            if file.stem not in ids:
                agent.report_state(file.stem, "removing")
                file.unlink()
                agent.report_state(file.stem, "removed")
        version = wanted["manifestVersion"]
        agent.adopted(version)


def install(agent: Agent, deployment_id: str, file: Path, *, anew: bool) -> None:
    """Have the file hold the deployment's YAML, and say so; `anew`: also if it does, whoever stopped may not have."""
    text = agent.deployment(deployment_id)
    if not file.exists() or file.read_bytes() != text:
        agent.report_state(deployment_id, "installing")
        aside = file.with_suffix(".new")
        aside.write_bytes(text)
        aside.replace(file)
    elif not anew:
        return
    agent.report_state(deployment_id, "installed")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    local = Agent()
    while True:
        try:
            follow(local, target)
        except (DaemonUnreachable, RequestRefused) as error:  # margod restarts, or what was wanted changed meanwhile
            print(f"{error}; trying again", file=sys.stderr)
            time.sleep(2)
