"""Physical constants and conversions, in one place.

The values are those of q2mm (`constants.py` and `models/units.py`, commit 0c795729), bit for bit, so that losses agree
below 1e-10; their distance from CODATA 2018 is tested. Inside the package everything is kcal/mol, Å, radian and u;
force constants follow q2mm's E = k (x - x0)^2, without a factor 1/2.
"""

import math

HARTREE_TO_KJMOL = 2625.5
HARTREE_TO_KCALMOL = 627.51
KCAL_TO_KJ = 4.184
BOHR_TO_ANGSTROM = 0.529177210903
HARTREE_TO_J = 4.359744650e-18
AMU_TO_KG = 1.66053906660e-27
SPEED_OF_LIGHT = 299792458.0
"""[m/s]"""

HESSIAN_AU_TO_KJMOLA2 = HARTREE_TO_KJMOL / BOHR_TO_ANGSTROM**2
"""hartree/bohr^2 -> kJ/mol/Å^2."""
KCALMOLA2_TO_HESSIAN_AU = KCAL_TO_KJ * (1.0 / HESSIAN_AU_TO_KJMOLA2)
"""kcal/mol/Å^2 -> hartree/bohr^2, through kJ as q2mm's engines do."""
GRADIENT_AU_TO_KCALMOLA = HARTREE_TO_KCALMOL / BOHR_TO_ANGSTROM
"""hartree/bohr -> kcal/mol/Å."""

MDYNA_TO_KCALMOLA2 = 0.5 * 6.022140857e2 / KCAL_TO_KJ
"""MM3 bond force constant, mdyn/Å -> kcal/mol/Å^2 (q2mm's value, 71.96631)."""
MDYNA_RAD2_TO_KCALMOLRAD2 = 0.5 * 601.99392 / KCAL_TO_KJ
"""MM3 angle force constant, mdyn Å/rad^2 -> kcal/mol/rad^2 (71.94000)."""
AU_TO_MDYNA = 15.569141
"""hartree/bohr^2 -> mdyn/Å."""
AU_TO_MDYN_ANGLE = 4.3598
"""hartree/rad^2 -> mdyn Å/rad^2."""

DEGREE = math.pi / 180.0
"""Radians per degree."""

_EIGENVALUE_TO_SI = HARTREE_TO_J / (AMU_TO_KG * (BOHR_TO_ANGSTROM * 1e-10) ** 2)
FREQUENCY_FACTOR = math.sqrt(_EIGENVALUE_TO_SI) / (2.0 * math.pi * SPEED_OF_LIGHT * 100.0)
"""cm^-1 per square root of an eigenvalue in hartree/(bohr^2 u)."""
