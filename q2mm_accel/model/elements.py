"""Symbols, masses and covalent radii of the elements, and how stiff their bonds are.

Masses: most abundant isotope [u], from NUBASE2020 / AME2020 (Wang et al., Chinese Phys. C 45, 030003, 2021), with the
digits that q2mm uses. Covalent radii [Å]: Cordero et al., Dalton Trans. 2008, 2832-2838 (manganese, iron and cobalt: the
low-spin values); elements beyond curium have none. Masses of other isotopes: AME2020.
"""

import re

# symbol, mass of the most abundant isotope [u], covalent radius [Å], in the order of the atomic numbers
_TABLE = """
H 1.007825032 0.31
He 4.002603250 0.28
Li 7.016004049 1.28
Be 9.012182135 0.96
B 11.009305466 0.84
C 12.000000000 0.76
N 14.003074005 0.71
O 15.994914622 0.66
F 18.998403205 0.57
Ne 19.992440176 0.58
Na 22.989769675 1.66
Mg 23.985041898 1.41
Al 26.981538441 1.21
Si 27.976926533 1.11
P 30.973761512 1.07
S 31.972070690 1.05
Cl 34.968852707 1.02
Ar 39.962383123 1.06
K 38.963706861 2.03
Ca 39.962591155 1.76
Sc 44.955910243 1.70
Ti 47.947947053 1.60
V 50.943963675 1.53
Cr 51.940511904 1.39
Mn 54.938049636 1.39
Fe 55.934942133 1.32
Co 58.933200194 1.26
Ni 57.935347922 1.24
Cu 62.929601079 1.32
Zn 63.929146578 1.22
Ga 68.925580912 1.22
Ge 73.921178213 1.20
As 74.921596417 1.19
Se 79.916521828 1.20
Br 78.918337647 1.20
Kr 83.911506627 1.16
Rb 84.911789341 2.20
Sr 87.905614339 1.95
Y 88.905847902 1.90
Zr 89.904703679 1.75
Nb 92.906377543 1.64
Mo 97.905407846 1.54
Tc 97.907215692 1.47
Ru 101.904349503 1.46
Rh 102.905504182 1.42
Pd 105.903483087 1.39
Ag 106.905093020 1.45
Cd 113.903358121 1.44
In 114.903878328 1.42
Sn 119.902196571 1.39
Sb 120.903818044 1.39
Te 129.906222753 1.38
I 126.904468420 1.39
Xe 131.904154457 1.40
Cs 132.905446870 2.44
Ba 137.905241273 2.15
La 138.906348160 2.07
Ce 139.905434035 2.04
Pr 140.907647726 2.03
Nd 141.907718643 2.01
Pm 144.912743879 1.99
Sm 151.919728244 1.98
Eu 152.921226219 1.98
Gd 157.924100533 1.96
Tb 158.925343135 1.94
Dy 163.929171165 1.92
Ho 164.930319169 1.92
Er 167.932367781 1.89
Tm 168.934211117 1.90
Yb 173.938858101 1.87
Lu 174.940767904 1.87
Hf 179.946548760 1.75
Ta 180.947996346 1.70
W 183.950932553 1.62
Re 186.955750787 1.51
Os 191.961479047 1.44
Ir 192.962923700 1.41
Pt 194.964774449 1.36
Au 196.966551609 1.36
Hg 201.970625604 1.32
Tl 204.974412270 1.45
Pb 207.976635850 1.46
Bi 208.980383241 1.48
Po 208.982415788 1.40
At 209.987131308 1.50
Rn 222.017570472 1.50
Fr 223.019730712 2.60
Ra 226.025402555 2.21
Ac 227.027746979 2.15
Th 232.038050360 2.06
Pa 231.035878898 2.00
U 238.050782583 1.96
Np 237.048167253 1.90
Pu 244.064197650 1.87
Am 243.061372686 1.80
Cm 247.070346811 1.69
Bk 247.070298533 -
Cf 251.079580056 -
Es 252.082972247 -
Fm 257.095098635 -
Md 258.098425321 -
No 259.101024000 -
Lr 262.109692000 -
"""

_ROWS = [line.split() for line in _TABLE.strip().splitlines()]
MASSES = {symbol: float(mass) for symbol, mass, _ in _ROWS}
"""Symbol -> mass of the most abundant isotope [u]."""
COVALENT_RADII = {symbol: float(radius) for symbol, _, radius in _ROWS if radius != "-"}
"""Symbol -> single-bond covalent radius [Å]."""

_SYMBOLS = tuple(MASSES)
_ISOTOPES = {"D": ("H", 2), "T": ("H", 3)}
ISOTOPE_MASSES = {
    ("H", 2): 2.014101778,
    ("H", 3): 3.016049281,
    ("C", 13): 13.003354835,
    ("N", 15): 15.000108899,
    ("O", 17): 16.999131757,
    ("O", 18): 17.999159613,
    ("Cl", 37): 36.965902602,
    ("Br", 81): 80.916289700,
}
"""Symbol and mass number -> mass [u], of isotopes that are often put in place of the most abundant one."""
_PLACES = {"CA", "CD", "CE", "CO", "HE", "HG", "HO", "ND", "NE"}
"""Elements, or names of atoms in proteins, when in capitals: Cα or calcium."""

_SIZES = (0.0, 0.34, 0.58, 0.68, 0.80, 0.78)
"""[Å] By row of the periodic table, hydrogen first, what an atom takes off a bond's length in Badger's rule."""
_BADGER = 1.86 / 15.569141
"""[hartree/bohr² Å³]"""


def element_of(text: str) -> tuple[str, float] | None:
    """The symbol and the mass [u] that programs mean by "Fe", "fe", "FE", "Fe3", "26", "D", "13C" or "H(Iso=2)".

    None where that is not clear: "CA" is calcium or an α carbon, "X" a dummy atom.
    """
    isotope = re.fullmatch(r"([A-Za-z]{1,2})\(Iso=(\d+(?:\.\d+)?)\)|(\d+)([A-Za-z]{1,2})", text)
    if isotope:
        found = element_of(isotope[1] or isotope[4])
        number = isotope[2] or isotope[3]
        if found is None or "." in number:
            return found if found is None else (found[0], float(number))
        if int(number) == round(found[1]):
            return found
        mass = ISOTOPE_MASSES.get((found[0], int(number)))
        return None if mass is None else (found[0], mass)
    if text.isascii() and text.isdigit():
        return (_SYMBOLS[int(text) - 1], MASSES[_SYMBOLS[int(text) - 1]]) if 0 < int(text) <= len(_SYMBOLS) else None
    name = text.rstrip("0123456789") if text.isascii() else text
    if name.upper() in _ISOTOPES:
        symbol, number = _ISOTOPES[name.upper()]
        return symbol, ISOTOPE_MASSES[symbol, number]
    symbol = name.capitalize()
    clear = symbol in MASSES and name in (symbol, symbol.lower(), symbol.upper()) and name not in _PLACES
    return (symbol, MASSES[symbol]) if clear else None


def bond_stiffness(first: str, second: str, length: float) -> float:
    """Curvature of a bond's energy [hartree/bohr²] from its length [Å]: within a factor of 1.5 of the true one.

    Badger's rule, 1.86 mdyn/Å / (r - d)³, with a d for each pair of rows of the periodic table; here the sum of two
    values, from spectra of diatomic molecules (H2, HF, HCl, HBr, HI, CC, Cl2, Br2, I2, Au2).

    Source: Badger, J. Chem. Phys. 1934, 2, 128; 1935, 3, 710; Huber and Herzberg, Constants of Diatomic Molecules, 1979.
    """
    rows = (sum(_SYMBOLS.index(symbol) + 1 > last for last in (2, 10, 18, 36, 54)) for symbol in (first, second))
    return _BADGER / max(length - sum(_SIZES[row] for row in rows), 0.3) ** 3
