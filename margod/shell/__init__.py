"""Carries out what the engine decides: reads the ground it stands on, sends, stores, says.

`ground` turns configuration and vault into facts, `actions` carries out commands, `status` words the document that the
local sockets show, `disk` keeps slow file systems away from the event loop. Belongs to daemon.py and sees what it sees.
"""
