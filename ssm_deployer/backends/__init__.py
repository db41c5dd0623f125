"""Adapters that carry content and commands to targets; each implements `runner.Backend`."""
