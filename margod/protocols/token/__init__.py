"""The `token` generation: the drafts of 2024 to mid 2025, client secret, bearer token, desired state in Git.

Pure like its siblings: the life of a bearer token is in engine/bearer.py, the repository is fetched by gitfetch/.
"""

from margod.protocols.token.generation import Token

__all__ = ["Token"]
