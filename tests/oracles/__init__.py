"""Answers from other programs and from exact arithmetic, to compare ours with."""
