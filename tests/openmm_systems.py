"""OpenMM Systems of alanine dipeptide and ethane, as users have them."""

from functools import cache

import numpy as np
import openmm
from openmm import app

from q2mm_accel import Molecule
from q2mm_accel.datasets import load_molecule

_NAMES = "HH31 CH3 HH32 HH33 C O N H CA HA CB HB1 HB2 HB3 C O N H C H1 H2 H3".split()
TYPES = tuple("HC CT HC HC C O N H CX H1 CT HC HC HC C O N H CT H1 H1 H1".split())
"""Atom types of ff14SB."""
_RESIDUES = (("ACE", 0, 6), ("ALA", 6, 16), ("NME", 16, 22))
_BONDS = [(0, 1), (1, 2), (1, 3), (1, 4), (4, 5), (4, 6), (6, 7), (6, 8), (8, 9), (8, 10), (10, 11), (10, 12), (10, 13)]
_BONDS += [(8, 14), (14, 15), (14, 16), (16, 17), (16, 18), (18, 19), (18, 20), (18, 21)]
_COORDINATES = [
    (3.2737, 1.0545, 1.2353),
    (2.5241, 1.6602, 0.7317),
    (1.9522, 2.2041, 1.4808),
    (3.0155, 2.3713, 0.0745),
    (1.5984, 0.7861, -0.0827),
    (1.3926, 0.9508, -1.2728),
    (1.0136, -0.2046, 0.6191),
    (1.1316, -0.2535, 1.6187),
    (0.1057, -1.1712, 0.0207),
    (0.4731, -1.3703, -0.9931),
    (0.0780, -2.4437, 0.8505),
    (-0.3835, -2.2437, 1.8149),
    (1.0845, -2.8284, 0.9971),
    (-0.5194, -3.1963, 0.3443),
    (-1.3065, -0.5501, -0.0848),
    (-2.2205, -0.8657, 0.6485),
    (-1.3905, 0.3680, -1.0604),
    (-0.5431, 0.6313, -1.5533),
    (-2.5881, 1.1337, -1.3044),
    (-2.8911, 1.0372, -2.3480),
    (-3.3727, 0.7405, -0.6597),
    (-2.4276, 2.1897, -1.0771),
]
"""A minimum of GFN2-xTB."""
ALANINE = Molecule([name[0] for name in _NAMES], _COORDINATES, name="alanine dipeptide")


def topology(merged=False):
    """OpenMM's topology of alanine dipeptide, in three residues, or in a single one as CHARMM has it."""
    made = app.Topology()
    chain, atoms = made.addChain(), []
    for residue, first, end in (("ALAD", 0, 22),) if merged else _RESIDUES:
        own = made.addResidue(residue, chain)
        for number in range(first, end):
            name = f"{_NAMES[number]}{number}" if merged else _NAMES[number]
            atoms.append(made.addAtom(name, app.element.Element.getBySymbol(name[0]), own))
    for i, j in _BONDS:
        made.addBond(atoms[i], atoms[j])
    return made


@cache
def _text_of(files, merged):
    where = topology(merged)
    templates = {residue: residue.name for residue in where.residues()} if merged else {}
    made = app.ForceField(*files).createSystem(
        where, nonbondedMethod=app.NoCutoff, constraints=None, residueTemplates=templates
    )
    return openmm.XmlSerializer.serialize(made)


def amber(*more):
    """Alanine dipeptide by ff14SB, and perhaps implicit solvent."""
    return openmm.XmlSerializer.deserialize(_text_of(("amber14-all.xml", *more), False))


def charmm():
    """The same by CHARMM36, with CMAP, Urey-Bradley terms, harmonic impropers, and custom forces for Lennard-Jones pairs."""
    return openmm.XmlSerializer.deserialize(_text_of(("charmm36.xml",), True))


ETHANE = load_molecule("ethane")
CARBONS = tuple(number for number, symbol in enumerate(ETHANE.symbols) if symbol == "C")
HYDROGENS = {
    carbon: [
        number
        for number, symbol in enumerate(ETHANE.symbols)
        if symbol == "H" and np.linalg.norm(ETHANE.coordinates[number] - ETHANE.coordinates[carbon]) < 1.3
    ]
    for carbon in CARBONS
}
RYCKAERT_BELLEMANS = (0.9, 0.6, -0.35, -0.7, 0.11, 0.05)
"""[kJ/mol] With a sum that is not 0."""


def ethane(torsions=True, pairs=True):
    """Ethane with Ryckaert-Bellemans torsions and OPLS-like pairs: geometric means of distances, odd exceptions."""
    first, second = CARBONS
    made = openmm.System()
    for symbol in ETHANE.symbols:
        made.addParticle({"C": 12.011, "H": 1.008}[symbol])
    bonds, angles = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    bonds.addBond(first, second, 0.1529, 224262.4)
    for carbon, own in HYDROGENS.items():
        for place, hydrogen in enumerate(own):
            bonds.addBond(carbon, hydrogen, 0.109, 284512.0)
            angles.addAngle(hydrogen, carbon, second if carbon == first else first, 1.932, 313.8)
            for other in own[place + 1 :]:
                angles.addAngle(hydrogen, carbon, other, 1.8815, 276.144)
    for force in (bonds, angles, *([_polynomials(), _cosines()] if torsions else []), *([_pairs()] if pairs else [])):
        made.addForce(force)
    made.addForce(openmm.CMMotionRemover())
    return made


def _polynomials():
    force, (first, second) = openmm.RBTorsionForce(), CARBONS
    for i in HYDROGENS[first]:
        for j in HYDROGENS[second]:
            force.addTorsion(i, first, second, j, *RYCKAERT_BELLEMANS)
    return force


def _cosines():
    """One torsion twice, one without barrier, and an improper."""
    force, (first, second) = openmm.PeriodicTorsionForce(), CARBONS
    chain = (HYDROGENS[first][0], first, second, HYDROGENS[second][0])
    for periodicity, phase, barrier in ((3, 0.0, 0.6), (3, 0.0, 0.6), (2, 3.0, 0.0), (1, 0.3, 0.2)):
        force.addTorsion(*chain, periodicity, phase, barrier)
    force.addTorsion(HYDROGENS[first][0], HYDROGENS[first][1], first, HYDROGENS[first][2], 2, 3.141592653589793, 4.6)
    return force


def _pairs():
    """Hydrogens of the first carbon in full, of which one has no charge and one no depth."""
    force, (first, second) = openmm.NonbondedForce(), CARBONS
    plain, deep = HYDROGENS[first][0], HYDROGENS[first][1]
    sigma = {"C": 0.35, "H": 0.25}
    for number, symbol in enumerate(ETHANE.symbols):
        charge = {"C": -0.18, "H": 0.06}[symbol]
        force.addParticle(0.0 if number == plain else charge, sigma[symbol], 0.0 if number == deep else 0.1255)
    for carbon in CARBONS:
        force.addException(first, second, 0.0, 0.3, 0.0) if carbon == first else None
        for hydrogen in HYDROGENS[carbon]:
            force.addException(carbon, hydrogen, 0.0, 0.3, 0.0)
            force.addException(hydrogen, second if carbon == first else first, 0.007, 0.2958, 0.05)
    force.addException(plain, HYDROGENS[second][0], 0.0021, 0.25, 0.06)  # a product that no charges have
    force.addException(deep, HYDROGENS[second][0], 0.0018, 0.24, 0.04)  # a depth that no depths have
    force.addException(HYDROGENS[first][2], HYDROGENS[second][1], 0.0018, 0.25, 0.06275)  # half of the combined depth
    return force
