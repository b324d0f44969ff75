"""Every tolerance of the tests, with its reason. u = 2.2e-16 is the rounding of float64.

"Gate" is what a test demands; "expected" is what a healthy build reaches on the machines we know.
"""

ENERGY = 1e-12
"""x sum of the terms' absolute values. Some 100 u; relative to the terms, not to a cancelling total. Expected 1e-14."""
FORCE = 1e-11
"""x largest force. One derivative more than the energy. Expected 1e-13."""
HESSIAN = 1e-10
"""x largest element of the Hessian. Two derivatives more. Expected 1e-12."""
SYMMETRY = 1e-13
"""x largest element of the Hessian, for H - Hᵀ. Only the order of additions differs. Expected 0."""
JAC = 1e-9
"""x largest element of the gradient. Three derivatives, through residuals that cancel. Expected 1e-11."""
LOSS = 1e-10
"""Relative, for a loss against the exact one: eigenvalues and residuals, but no derivative. Expected 1e-12."""
REGROUP = 1e-13
"""x sum of the terms' absolute values, where only the order of additions changes. Expected 1e-15."""
EIGEN = 1e-11
"""x largest eigenvalue. n u is 1.3e-13 at n = 600. Expected 1e-13."""
FREQUENCY = 1e-6
"""[cm⁻¹], for modes above `FREQUENCY_FLOOR`. EIGEN times dν/dλ = 2.6e5 at 50 cm⁻¹. Expected 1e-8."""
FREQUENCY_FLOOR = 50.0
"""[cm⁻¹]. Below, frequencies are dominated by overall rotation and translation, and dν/dλ grows without limit."""
CLOSED_FORM = 1e-12
"""Relative, where the answer is a formula on paper. Expected 1e-14."""
ROUNDING = 4 * 2.220446049250313e-16
"""Relative, for round trips through unit conversions and exact rescalings: a few operations."""

OPENMM_ENERGY = 1e-8
"""x sum of the terms' absolute values. Another code, in nm and kJ. Expected 1e-14 (Reference platform)."""
OPENMM_FORCE = 1e-7
"""x largest force. As the energy, one derivative more. Expected 1e-13."""
OPENMM_HESSIAN = 1e-5
"""x largest element of the Hessian. OpenMM's is a central difference of forces with a step of 1e-4 Å. Expected 1e-7."""

Q2MM_LOSS = 1e-10
"""Relative, against q2mm: the same formulas and constants, without its known faults. Expected 1e-12."""
GOLDEN = 1e-9
"""Relative, against stored results of q2mm: their rounding, and gradients through 1,404 modes. Expected 1e-12."""

GPU_LOSS = 1e-9
"""Relative, GPU against CPU: another order of reductions, fused multiply-add. Expected 1e-12."""
GPU_JAC = 1e-8
"""x largest element of the gradient. As GPU_LOSS, one derivative more. Expected 1e-12."""

NET_FORCE = 1e-10
"""[kcal/mol/Å], for the sum of forces and for the torque: additions that cancel. Expected 1e-12."""
NET_HESSIAN = 1e-9
"""x largest element of the Hessian, for its row sums over atoms. As NET_FORCE, two derivatives. Expected 1e-13."""
STENCIL = 1e-7
"""Relative, directional derivative by a fourth-order stencil: truncation and rounding balance there. Expected 1e-9."""
TRANSLATION = {1.0: 1e-12, 20.0: 1e-11, 1000.0: 1e-9}
"""Relative change of the loss for a shift [Å]: coordinates lose digits in proportion to the shift."""

REGROUP_GRADIENT = 1e-11
"""The same for a gradient, relative to its largest element: eigenvectors of another matrix size carry EIGEN's error."""

BATCH = 1e-12
"""One program for many vectors against one for one: other fusions, other rounding; relative to the loss."""

SAME_MINIMUM = 1e-8
"""Losses at which different minimizers stop, relative: the square of their relative distance from the minimum."""

DIFFERENCES = 3e-6
"""x largest derivative. Central differences with steps of 1e-3 leave h²/6 of the third one. Expected 3e-7."""
CHECK_GRAD = 1e-5
"""Central differences of float64 values, relative to the gradient's norm."""
COARSE_DIFFERENCE = 1e-3
"""Relative, for a slope beside a central difference of second order with a step of half a percent. Expected 1e-4."""

SHAPED = 1e-12
"""Relative, and absolute below 1, for residuals of robust losses and their derivatives: pieces that meet. Expected 1e-14."""

NATIVE_MINIMUM = 1e-6
"""Relative, for the loss at which a native solver stops, above that of SciPy's L-BFGS-B. Expected 1e-10."""
STATIONARY = 1e-5
"""x the start's projected gradient, where a fit says that it has converged. Expected 1e-8."""
NEAR_BOUND = 1e-3
"""x typical change of a parameter: how far from a bound it may stop whose bounds are kept by a smooth function."""
PRESSED = 1e-6
"""Derivative by a parameter in units of its typical change that holds it at a bound for certain."""
RECOVERED_LOSS = 1e-12
"""x the loss of the start, where the references are the force field's own predictions. Expected 1e-20."""
RECOVERED = 1e-6
"""Relative, for parameters found again from such references. Expected 1e-10."""
LANES = 1e-9
"""Relative, for losses of the same fit among other fits: batched matrix products round differently. Expected 1e-13."""
SHARED = 1e-12
"""Relative to the largest element: on several devices only the order of additions changes. Expected 1e-16."""
SHORT_FIT = 1e-6
"""Relative, for losses after few steps: rounding grows with every step. Expected 1e-9."""
MEMORY_GROWTH = 5 * 2**20
"""[bytes] of resident memory, in hundreds of fits or thousands of evaluations."""

EIGEN_SINGLE = 3e-7
"""x largest eigenvalue, for refined eigenvalues of float32 matrices: two to three roundings of float32. Expected 3e-8."""
SMALL_SINGLE = 2e-8
"""x largest eigenvalue, for refined eigenvalues below a hundredth of it; float32's own are wrong by more. Expected 2e-9."""
ORTHONORMAL_SINGLE = 1e-6
"""For the overlaps of refined eigenvectors: some roundings of float32. Expected 3e-8."""
ORTHONORMAL_CROWDED = 0.1
"""The same, of many eigenvalues that float32 cannot tell apart, where any basis serves. Expected 0.03."""
MIXED_SINGLE = 1e-5
"""Share of a mode 1e-4 of the largest eigenvalue away in a refined eigenvector; error of slopes. Expected 1e-6."""
FREQUENCY_SINGLE = 0.01
"""[cm⁻¹], float32 and mixed against float64, above `FREQUENCY_FLOOR`: 6e-8 of the largest eigenvalue. Expected 0.004."""
LOSS_SINGLE = 1e-5
"""Relative, for losses in float32 and mixed against float64: residuals of some cm⁻¹ have 4 digits. Expected 2e-6."""
JAC_SINGLE = 1e-4
"""x norm or largest element of the gradient, float32 and mixed against float64. As LOSS_SINGLE, one derivative more."""
SINGLE_MINIMUM = 1e-4
"""Relative, above the minimum of float64, for a fit in float32 or mixed: steps below its rounding count as none. 1e-5."""
MEMORY_ESTIMATE = 1.5
"""Factor between estimated and compiled memory: what XLA keeps at a time depends on its version. Expected 1.3."""

RELAXED_GRADIENT = 1e-8
"""[kcal/mol/Å] Largest component at an own minimum, as asked for. Rounding leaves some 1e-12."""
RELAXED_ENERGY = 1e-10
"""[kcal/mol], for the same minimum reached from turned molecules or in other company. Expected 1e-13."""
RELAXED_DISTANCE = 1e-8
"""[Å], for its distances; also radians of angles. The gradient's rounding by the softest curvature. Expected 1e-11."""
RELAXED_HESSIAN = 1e-8
"""x largest element. As RELAXED_DISTANCE, by third derivatives. Expected 1e-11."""
RELAXED_OPENMM = 1e-6
"""[kcal/mol], for the same minimum found by OpenMM's own minimizer. Expected 1e-12."""
RELAXED_JAC = 1e-8
"""x largest element: derivatives through relaxation, against differences of sixth order. Expected 1e-9, the differences'."""
RELAXED_RESIDUAL = 1e-6
"""Of weighted residuals of order 1 to 100 at own minima, whatever the frame and the company. Expected 1e-9."""

MODES = 1e-9
"""Relative, and in the references' units: modes and couplings against their definitions in plain NumPy. Expected 1e-12."""
QUADRATIC = 1e-9
"""Of the conditions of a quadratic program's minimum, beside numbers of order 1. Expected 1e-13."""
LINEAR_MINIMUM = 1e-8
"""Relative, by how much the direct solve may be above the best of many Levenberg-Marquardt fits. Expected 1e-13."""
RELAXED_JAC_SOFT = 5e-8
"""The same where a mode is a million times softer than others: its rounding is in the differences. Expected 5e-9."""

RELAXED_BY_Q2MM = {"bond_length": 1e-6, "bond_angle": 1e-3, "torsion_angle": 0.5}
"""[Å], [degrees]. q2mm's minimizers stop where the energy changes by 2e-9 of itself; torsions without terms end anywhere."""
READ_BACK = 1e-6
"""Of energy, forces and Hessian of a force field that was read back from a file. Expected 1e-12; of .fld, whose columns have
eight digits, 1e-7; of Hessians, which are differences of forces on both sides, 1e-8."""
OPENMM_ENERGY_RELATIVE = 1e-6
"""OpenMM's own sums, in double precision on its Reference platform, and nonbonded sums."""

READ_COORDINATES = 1e-8
"""[Å], for coordinates written with nine significant digits or more in bohr. Expected 3e-9."""
READ_HESSIAN = 6e-7
"""[hartree/bohr²], for Hessians written with six decimals (Jaguar's) or more. Expected 5e-7."""
READ_ENERGY = 1e-6
"""[hartree], for energies written with six decimals or more, and through eV and back. Expected 5e-7."""
READ_FREQUENCY = 0.15
"""[cm⁻¹], of printed frequencies and those of the Hessian read. Expected 0.1: xtb's constants are 3e-5 off, others' 1e-5."""
OPENMM_READ = (1e-8, 1e-8, 1e-5)
"""Energy, largest force and largest element of the Hessian, relative, of a System read in. Expected 1e-14, 1e-14, 1e-12."""
OPENMM_WRITTEN = (1e-6, 1e-6, 1e-6)
"""The same of a System written back. Expected 1e-14, 1e-14, 1e-12."""
OPENMM_FREQUENCY = 1e-4
"""[cm⁻¹], of Hessians by OpenMM's differences of forces. Expected 1e-7."""
