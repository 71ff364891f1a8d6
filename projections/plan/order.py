"""The order in which a cycle through the loop plays.

A cycle is one time through the loop. Unshuffled, every cycle has the order of the entries. Shuffled, cycle k
has an order that depends on the seed, on k and on how many entries there are, and on nothing else: whoever
knows the log can name the order of any cycle without going through those before it.
"""

from functools import lru_cache

_MASK = 2**64 - 1
# The increment and multipliers of SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
# Generators" (OOPSLA 2014), in the variant of Vigna's public-domain splitmix64.c (prng.di.unimi.it).
GAMMA = 0x9E3779B97F4A7C15


def mix(z: int) -> int:
    """SplitMix64's finaliser: a 64-bit number to a well-scattered one, one to one."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


# Asked again at every frame for the cycle under way and the next; a few loops may be looked at side by side.
@lru_cache(maxsize=64)
def order(seed: int | None, cycle: int, size: int) -> tuple[int, ...]:
    """Indexes of the entries in the order of cycle `cycle` (>= 0); `seed` None means not shuffled.

    With more than one entry, none plays twice running where two cycles meet (as long as none is passed over):
    if a cycle would begin with the entry that ended the one before, its first two change places. From three
    entries on that leaves every cycle's last entry where it was, so looking one cycle back is enough. Two
    entries can only alternate: each cycle is like the first.
    """
    if seed is None or size < 2:
        return tuple(range(size))
    if size == 2:
        return _shuffled(seed, 0, size)
    indexes = _shuffled(seed, cycle, size)
    if cycle > 0 and indexes[0] == _shuffled(seed, cycle - 1, size)[-1]:
        return (indexes[1], indexes[0], *indexes[2:])
    return indexes


def _shuffled(seed: int, cycle: int, size: int) -> tuple[int, ...]:
    """Fisher and Yates' shuffle of 0 .. size-1, driven by SplitMix64."""
    indexes = list(range(size))
    # Mixed twice, for seeds that differ by a multiple of gamma would give one sequence, merely shifted.
    state = mix((mix(seed & _MASK) + cycle) & _MASK)
    for last in range(size - 1, 0, -1):
        state = (state + GAMMA) & _MASK
        # The high word of the product: uniform but for one part in 2**64 / size.
        other = (mix(state) * (last + 1)) >> 64
        indexes[last], indexes[other] = indexes[other], indexes[last]
    return tuple(indexes)
