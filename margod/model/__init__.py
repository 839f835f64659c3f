"""What every room speaks of: reasons, errors, states, requests and answers, outcomes, capabilities.

Plain values and pure functions on the standard library alone. Imports no other room and does no I/O.
"""
