"""Files: checkpoints of fits, force fields and tables of results.

A file is replaced as a whole or not at all (`atomic`), so that a process may be killed at any moment.
"""
