"""What to do next. Pure: events and the time go in, commands come out; no clock, no randomness, no I/O of its own.

`enrolment` is the machine that takes a device from nothing to enrolled; `policy` says what each outcome means for it
and how long it waits; `messages` are the words it shares with the shell that carries its commands out (daemon.py).
May import `model` only.
"""
