"""Put a script and a folder of files onto a fleet of EC2 machines without SSH."""

__version__ = "0.1.0"
