"""The `token` generation: the drafts of 2024 to mid 2025, client secret, bearer token, desired state in Git.

Pure like its siblings: the life of a bearer token is in engine/bearer.py, the repository is fetched by gitfetch/.
"""

from margod.protocols.token.access import secrets
from margod.protocols.token.credentials import Credentials, GitAccess, stored_access, stored_credentials
from margod.protocols.token.generation import Token, bearing, read_git_answer
from margod.protocols.token.oauth import read_grant, token_request
from margod.protocols.token.origins import NotUsable, Origins, Place, read_place

__all__ = [
    "Credentials",
    "GitAccess",
    "NotUsable",
    "Origins",
    "Place",
    "Token",
    "bearing",
    "read_git_answer",
    "read_grant",
    "read_place",
    "secrets",
    "stored_access",
    "stored_credentials",
    "token_request",
]
