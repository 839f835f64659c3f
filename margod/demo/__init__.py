"""`margod demo`: a device and a development WFM as real processes, and what happens between them in words.

Shows facts only: the daemon's status documents, the WFM's request record, the journal, what is on disk, exit codes.
Imports what the command line may (client, devwfm's control side, vault's `peek`); nothing imports it but cli/demo.py.
"""
