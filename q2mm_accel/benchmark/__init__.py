"""The figures of the README, measured side by side in one run: `python -m q2mm_accel.benchmark`."""
