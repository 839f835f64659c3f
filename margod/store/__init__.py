"""Putting bytes on disk so that a power cut leaves the old or the new, never a mixture.

Files and whole directories are written aside, synced, renamed once, and the parent synced. Knows nothing of what the
bytes mean. Every system call goes through the functions of `os`; a failed write becomes a `StateNotWritable`.
"""

from __future__ import annotations

from margod.store.directories import commit_directory, drop_tree, finish_drop, move, remove_tree, sync_directory
from margod.store.files import append_line, place_file, read_regular, replace_secret, sync_file, write_file
from margod.store.lasting import volatile
from margod.store.shredding import shred_tree
from margod.store.vouched import read_vouched

__all__ = [
    "append_line",
    "commit_directory",
    "drop_tree",
    "finish_drop",
    "move",
    "place_file",
    "read_regular",
    "read_vouched",
    "remove_tree",
    "replace_secret",
    "shred_tree",
    "sync_directory",
    "sync_file",
    "volatile",
    "write_file",
]
