"""The daemon as an operated thing: what it tells systemd, how it writes its log, which signals it heeds.

Nothing here knows of onboarding, of the network or of the state directory; nothing here may stop the daemon.
"""
