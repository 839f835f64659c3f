"""Tests of margod.service."""
