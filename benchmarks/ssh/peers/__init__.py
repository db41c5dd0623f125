"""What stands beside ours: each is a program that does the job of `job.py` in its own way.

They find what they need in the environment that `round.py` gives them. The Python ones are run by an interpreter of
their own (`.venv-bench`), and no part of the project imports what they import.
"""
