"""The folder that goes to the targets: read once into a value, sent as a deterministic tar.gz made on the way."""

from ssm_deployer.bundle.pack import pack
from ssm_deployer.bundle.tree import Bundle, Entry, scan, shown

__all__ = ["Bundle", "Entry", "pack", "scan", "shown"]
