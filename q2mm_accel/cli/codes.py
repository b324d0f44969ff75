"""Exit codes of the command."""

HELD, NOT_HELD, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: all is well; a result that should not be trusted, which is then said; an input that cannot be used, in one
line; Ctrl-C."""
