"""A development WFM that really verifies: for the demo, the tests and integrators. Not for production.

Speaks the WFM's side of `signed`: TLS by its own CA, signatures, certificates, capabilities, approval by a person, the
deviations of real servers, faults on demand. May import `margod.model` only; shares no signing code with the daemon.
"""
