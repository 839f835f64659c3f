"""The fault campaign: what margod promises, checked after each of thousands of faults made for real.

Each suite is a function of a `Run`. A short seeded part of it is run by the tests here, the long one by `make faults`.
"""
