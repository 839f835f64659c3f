"""Tests of the service on a real systemd: they need root and the Debian package systemd-container."""
