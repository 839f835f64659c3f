"""Fetches the desired state from Git, in a child process that lives for one fetch (docs/decisions/0023-git.md).

    parent.fetch(job)  runs it, bounds it, and returns the files of one branch, or why there are none
    child              the process: bounds itself, reads the job from standard input, answers on standard output
    answer             what came of it, on its way through the pipe: believed nothing that it cannot be
    confine            Landlock, and an end with the parent
    wire               smart HTTP by dulwich over a connection of ours: one origin, one CA bundle, no redirect
    connection         that connection: TLS by the owner's rules, proxy, addresses, certificates by another clock
    pack, trees        a pack to objects, objects to files; every bound is checked before what it bounds is made

Only the child imports dulwich. Nothing is checked out: files come from the objects, no hook, filter or configuration
of Git has a part in it. The token goes through a pipe and never into arguments, environment, URL or a log.
"""

from margod.gitfetch.job import Failed, Fetched, Job, Limits, ProxyAt, Tls
from margod.gitfetch.parent import fetch

__all__ = ["Failed", "Fetched", "Job", "Limits", "ProxyAt", "Tls", "fetch"]
