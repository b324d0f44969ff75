"""QM files in, as plain data: NumPy arrays in Å, hartree, bohr and u.

`pairs.read_file` reads one calculation; `Molecule.read` makes a molecule of it and compares frequencies. Each module
says why it uses a library, or none: qc-iodata 1.0, cclib 1.8, ASE 3.29 and qcelemental 0.51 were tried on real files of
each format.

| format (`format=`) | what is read | by |
|---|---|---|
| .fchk (`gaussian-fchk`) | atoms, Hessian, gradient, energy, charge, multiplicity, masses, frequencies | here |
| Gaussian .log (`gaussian-log`) | the same, of the archive entry; frequencies and masses as printed | here |
| ORCA .hess (`orca-hess`) | atoms, Hessian, masses, frequencies; energy, charge, multiplicity where it has them | here |
| Q-Chem .out (`qchem-log`) | atoms, Hessian, energy, charge, multiplicity, masses, frequencies | cclib |
| GAMESS .dat (`gamess-dat`) | atoms (all of them with C1), Hessian, gradient, energy, masses, frequencies | here |
| Jaguar .01.in (`jaguar-in`) | atoms, Hessian, charge, multiplicity | here |
| QCSchema JSON of Psi4, QCEngine (`qcschema`) | atoms, Hessian, gradient, energy, charge, multiplicity, masses | here |
| Molden (`molden`), .xyz (`xyz`), `coord` (`coord`) | atoms; the Hessian from another file | here |
| xtb `hessian` (`xtb-hessian`), .npy (`npy`) | a Hessian, for `hessian=` | here |
| our own .npz (`npz`) | all of it | here |

Files are not trusted: no pickles, no code, no more memory than the file has bytes, and whatever is wrong is a
`QMFileError` that names file and line or item. Files that were cut are refused.
"""

from q2mm_accel.readers.formats import FORMATS
from q2mm_accel.readers.pairs import read_file
from q2mm_accel.readers.record import QMRecord

__all__ = ["FORMATS", "QMRecord", "read_file"]
