"""Masses and covalent radii of the elements.

Masses: most abundant isotope [u], from NUBASE2020 / AME2020 (Wang et al., Chinese Phys. C 45, 030003, 2021), with the
digits that q2mm uses. Covalent radii [Å]: Cordero et al., Dalton Trans. 2008, 2832-2838 (manganese, iron and cobalt: the
low-spin values); elements beyond curium have none.
"""

# symbol, mass of the most abundant isotope [u], covalent radius [Å]; the row number is the atomic number
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
SYMBOLS = tuple(row[0] for row in _ROWS)
"""Element symbols in the order of their atomic numbers."""
MASSES = {symbol: float(mass) for symbol, mass, _ in _ROWS}
"""Symbol -> mass of the most abundant isotope [u]."""
COVALENT_RADII = {symbol: float(radius) for symbol, _, radius in _ROWS if radius != "-"}
"""Symbol -> single-bond covalent radius [Å]."""


def symbol_of(atomic_number: int) -> str:
    """The symbol of an element.

    Args:
        atomic_number: 1 (hydrogen) to 103 (lawrencium).

    Returns:
        The element's symbol.

    Raises:
        KeyError: no such element in the table.
    """
    if not 1 <= atomic_number <= len(SYMBOLS):
        raise KeyError(f"no element with atomic number {atomic_number}; the table has 1 to {len(SYMBOLS)}")
    return SYMBOLS[atomic_number - 1]
