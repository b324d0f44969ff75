"""The figures of benchmark/README.md, measured side by side in one run: `python -m q2mm_accel.benchmark`.

Each module measures one thing and prints its table; functions that are compared are called in turn in the same process.
"""
