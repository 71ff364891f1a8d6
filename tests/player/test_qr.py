"""QR symbols: matrices that two independent decoders read and an independent encoder draws alike, and the rules around them."""

from __future__ import annotations

import hashlib

import pytest

from player import qr

LINK = "http://192.168.178.123:8420/pair#K7QF-93XM-AB12"

ABC = """
#######  # ## #######
#     #  ###  #     #
# ### # ## ## # ### #
# ### #  # #  # ### #
# ### #   # # # ### #
#     #     # #     #
####### # # # #######
        ## ##
### ######## ##   #
####   # ##   #  # ##
#### ##  #  #   #  ##
  ##    #     #
### #####   # # #   #
        #### # # # ##
####### #  # ### # ##
#     # ## ### ###  #
# ### # # ## ###  # #
# ### #  #    #   ##
# ### # #   #   #   #
#     # # #   #   ##
####### # # # # # ###
"""
"""`abc`, version 1, level L, mask 0."""

GOLDEN: dict[tuple[int, qr.Level], str] = {
    (1, "L"): "3ae72e02ca7b480980b5b9b1",
    (1, "M"): "3e3a77dc93ab912c89bcc0c6",
    (2, "L"): "687109ca896d1fb3184fb90e",
    (2, "M"): "db032f124140db032f124140",
    (3, "L"): "87f7254eb90cf6ecd2b46e8e",
    (3, "M"): "91e975d0754b4cbd8e5837e1",
    (4, "L"): "644e63a732b849d3f3f6fb70",
    (4, "M"): "3b1f9c79ab363b1f9c79ab36",
    (5, "L"): "a5f0e6c71aaea5f0e6c71aae",
    (5, "M"): "13d99d215da437189579d0ff",
    (6, "L"): "c1c5da4314df10a2f997bfe1",
    (6, "M"): "d699e10087b6d699e10087b6",
    (7, "L"): "8be9a1d41a1d96e0fcf88595",
    (7, "M"): "2db7e2e80a68a4658f537b7f",
    (8, "L"): "849685ba7bbe1122e6e257cf",
    (8, "M"): "31b5204af0e5dac2f24e8a4c",
    (9, "L"): "99c2ba8b4f695629400a24d7",
    (9, "M"): "d03ee8e3d6631a15f05363cd",
    (10, "L"): "f061f03296a66a8f8421f708",
    (10, "M"): "f39e132fe551f39e132fe551",
}
"""Digests of both, by version and level."""


def drawn(matrix: qr.Matrix) -> str:
    return "\n".join("".join(" #"[module] for module in row).rstrip() for row in matrix)


def digest(matrix: qr.Matrix) -> str:
    return hashlib.sha256(drawn(matrix).encode()).hexdigest()[:12]


def content(version: int, level: qr.Level) -> bytes:
    """As much as fits."""
    return bytes(33 + place % 94 for place in range(qr.capacity(version, level)))


def test_a_small_symbol_module_by_module() -> None:
    """Three letters, drawn out."""
    assert drawn(qr.symbol_of(b"abc", 1, "L", 0)) == ABC.strip("\n")


@pytest.mark.parametrize(("version", "level"), [(version, level) for version in range(1, 11) for level in ("L", "M")])
def test_each_version_and_level_is_the_same_to_the_module(version: int, level: qr.Level) -> None:
    """Full symbols under mask 3 and under the mask of the lowest penalty are those that were read by others."""
    full = content(version, level)
    both = digest(qr.symbol_of(full, version, level, 3)) + digest(qr.symbol_of(full, version, level))
    assert both == GOLDEN[version, level]


@pytest.mark.parametrize("mask", range(8))
def test_the_link_under_each_mask(mask: int) -> None:
    """Masks differ from each other in data and format, and never in the patterns that a reader looks for."""
    matrix = qr.symbol_of(LINK.encode(), 3, "L", mask)
    others = [qr.symbol_of(LINK.encode(), 3, "L", other) for other in range(8) if other != mask]
    assert matrix not in others
    assert all(matrix[row][:7] == other[row][:7] for other in others for row in (*range(7), *range(22, 29)))
    assert [matrix[6][column] for column in range(8, 21)] == [1, 0] * 6 + [1]


def test_the_mask_of_the_lowest_penalty_is_taken() -> None:
    """Unless one is asked for."""
    all_masks = [qr.symbol_of(LINK.encode(), 3, "L", mask) for mask in range(8)]
    assert qr.penalty(qr.symbol(LINK)) == min(map(qr.penalty, all_masks))


def test_penalties_add_up() -> None:
    """Each of the four features counts as the standard says."""
    assert qr.penalty((bytes(5),) * 5) == 10 * 3 + 16 * 3 + 100
    assert qr.penalty((b"\x01" * 6,) * 6) == 12 * 4 + 25 * 3 + 100
    board = tuple(bytes((row + column) % 2 for column in range(4)) for row in range(4))
    assert qr.penalty(board) == 0
    finders = (bytes((1, 0, 1, 1, 1, 0, 1, 0, 0, 0, 0)),) * 11
    assert qr.penalty(finders) == 11 * 40 + 11 * 9 + 10 * 5 * 3


def test_the_smallest_symbol_is_taken_with_the_better_level_that_fits_it() -> None:
    """Large modules are read from further away than many corrected ones."""
    sizes = {14: (1, "M"), 15: (1, "L"), 18: (2, "M"), 42: (3, "M"), 43: (3, "L"), 231: (10, "L"), 271: (10, "L")}
    for length, (version, level) in sizes.items():
        text = "x" * length
        assert qr.symbol(text) == qr.symbol_of(text.encode(), version, level)  # pyright: ignore[reportArgumentType]


def test_capacities_are_those_of_the_standard() -> None:
    """Bytes by version and level (Table 7)."""
    assert [qr.capacity(version, "L") for version in range(1, 11)] == [17, 32, 53, 78, 106, 134, 154, 192, 230, 271]
    assert [qr.capacity(version, "M") for version in range(1, 11)] == [14, 26, 42, 62, 84, 106, 122, 152, 180, 213]


def test_what_is_too_long_is_refused() -> None:
    """By its length in UTF-8."""
    with pytest.raises(ValueError, match="at most 271 bytes, not 272"):
        qr.symbol("é" * 136)
    assert len(qr.symbol("é" * 135)) == 57
