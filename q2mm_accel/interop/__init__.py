"""Objects of other packages -> ours, without importing those packages: they are read by their attributes.

What cannot be carried over exactly is refused with its name; nothing is approximated silently.
"""
