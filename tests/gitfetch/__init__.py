"""Desired state from Git, in its child process."""
