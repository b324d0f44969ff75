"""How well the data determine the parameters of a fit, and how it does on molecules that it has not seen.

Run: python examples/02_error_bars.py
"""

from q2mm_accel import cross_validate, fit, prepare
from q2mm_accel.datasets import load_molecule


def main() -> None:
    """Error bars of a peroxide, whose Hessian says too little about its torsion; then three molecules, each left out."""
    peroxide = fit(load_molecule("h2o2"), urey_bradley=False)
    bars = peroxide.uncertainty
    print(f"{bars.n_determined} of {len(bars.labels)} directions are determined; reduced chi² {bars.reduced_chi2:.2g}")
    for label, value, error, unit in zip(bars.labels, bars.values, bars.standard_errors, bars.units, strict=True):
        print(f"  {label:45}{value:10.3f} ± {error:.3g} {unit}")
    for combination in bars.undetermined:
        print(f"no data tell apart: {combination}")

    molecules = [load_molecule(name) for name in ("methanol", "ethane", "water")]
    shared = prepare(molecules, by="element", urey_bradley=False)
    print(cross_validate(shared))


if __name__ == "__main__":
    main()
