"""The command line: parse, wire, drive, exit. The only place that reads argv, prints and exits."""
