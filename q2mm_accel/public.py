"""The public names, all of which `q2mm_accel` has."""

from q2mm_accel.comparison import Comparison, compare
from q2mm_accel.crossvalidation import CrossValidation, cross_validate
from q2mm_accel.drivers import accelerate
from q2mm_accel.fitting import Fit, fit
from q2mm_accel.interop.engine_objective import EngineObjective
from q2mm_accel.interop.openmm_systems import OpenMMModel, from_openmm, to_openmm
from q2mm_accel.kernel.potentials import register_form, register_kind
from q2mm_accel.model.forcefield import ForceField
from q2mm_accel.model.kinds import Constant, Coordinate, Kind, PairKind, Parameter, Read
from q2mm_accel.model.matching import match_frequencies
from q2mm_accel.model.molecule import Molecule
from q2mm_accel.model.perceive import perceive
from q2mm_accel.model.reading import read_molecules
from q2mm_accel.model.references import Reference, ReferenceData
from q2mm_accel.model.seminario import estimate_force_constants
from q2mm_accel.model.system import Background, System
from q2mm_accel.objective import FusedObjective
from q2mm_accel.parameters.priors import Prior
from q2mm_accel.parameters.ties import Tie
from q2mm_accel.recipe import FitProblem, prepare
from q2mm_accel.runtime import keep_compiled
from q2mm_accel.solvers.lane import Status
from q2mm_accel.spectra import frequencies
from q2mm_accel.stationary import relax_systems
from q2mm_accel.uncertainty import Uncertainty
from q2mm_accel.validation import Validation, validate
from q2mm_accel.writers.forcefields import write_forcefield

__all__ = [
    "write_forcefield",
    "to_openmm",
    "from_openmm",
    "OpenMMModel",
    "prepare",
    "fit",
    "cross_validate",
    "Uncertainty",
    "FitProblem",
    "Fit",
    "CrossValidation",
    "Background",
    "Comparison",
    "Constant",
    "Coordinate",
    "EngineObjective",
    "ForceField",
    "FusedObjective",
    "Kind",
    "Molecule",
    "PairKind",
    "Parameter",
    "Prior",
    "Read",
    "Reference",
    "ReferenceData",
    "Status",
    "System",
    "Tie",
    "Validation",
    "accelerate",
    "compare",
    "estimate_force_constants",
    "frequencies",
    "keep_compiled",
    "match_frequencies",
    "perceive",
    "read_molecules",
    "register_form",
    "register_kind",
    "relax_systems",
    "validate",
]
