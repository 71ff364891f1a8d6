"""The font: what it measures, where it breaks lines, and that its ink is the same everywhere."""

import hashlib
import sys
import time

import pytest
from PIL import Image

from player import font
from player.glyphs import GLYPHS, SAME, SCALED

LATIN = (
    "".join(chr(c) for c in range(0x20, 0x7F))
    + "".join(chr(c) for c in range(0xA1, 0x180) if c != 0xAD)
    + "–—‘’“”…•·‹›€™←↑→↓♥★✓✗☀☂♪⚠−"
)
GREEK = "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩαβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐ"
CYRILLIC = "".join(chr(c) for c in range(0x410, 0x450)) + "ЁёІіЇїЄєҐґЎўЂђЋћЉљЊњЏџЈјЅѕ"


def inked(text: str, size: int = 24, bold: bool = False) -> Image.Image:
    mask = Image.new("L", (font.measure(text, size, bold) + 2 * size, font.line_height(size) * 2), 0)
    font.draw(mask, (size, size // 2), text, size, bold)
    return mask


def digest(mask: Image.Image) -> str:
    return hashlib.sha256(mask.tobytes()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("text", "size", "bold", "expected"),
    [
        ("Hamburgefonstiv 0123456789", 24, False, "c7c3e1b0daa10313"),
        ("Hamburgefonstiv 0123456789", 13, True, "494052e747993f03"),
        ("Ťåžký Łódź ąß Ωμέγα Щука ґ 漢", 40, False, "4451b3c579ec8c49"),
    ],
)
def test_ink_is_the_same_to_the_pixel(text: str, size: int, bold: bool, expected: str) -> None:
    """A change of any outline, hint or coverage is a deliberate act: past screens would be drawn differently."""
    assert digest(inked(text, size, bold)) == expected


def test_every_promised_letter_has_a_shape_of_its_own() -> None:
    """Latin, Greek, Cyrillic, punctuation and signs are drawn, not boxed."""
    box = font._box  # pyright: ignore[reportPrivateUsage]
    box.cache_clear()
    for char in LATIN + GREEK + CYRILLIC:
        font.measure(char, 20)
        inked(char, 20)
    assert box.cache_info().currsize == 0


def test_every_shape_in_the_tables_is_drawn() -> None:
    """No entry of the tables is malformed, at the smallest and a large size, in both weights; only the space is empty."""
    for char in {*GLYPHS, *SAME, *SCALED}:
        for size, bold in ((font.MIN_SIZE_PX, True), (60, False)):
            assert (inked(char, size, bold).getbbox() is None) == (char == " "), f"{char!r} at {size}"


def test_distinct_letters_look_distinct() -> None:
    """An address can be read: the confusable characters differ in ink."""
    for size in (8, 12, 24):
        assert len({digest(inked(char, size)) for char in "1lI|i!O0oQ8B5S2Z"}) == 16


def test_an_unknown_character_is_a_box_with_its_code() -> None:
    """Two unknown characters have the same frame and differ in their digits."""
    first, second = inked("漢", 32), inked("字", 32)
    assert first.size == second.size
    assert first.getbbox() == second.getbbox()
    assert first.tobytes() != second.tobytes()
    assert font.measure("\U0001f600", 32) > font.measure("漢", 32)


@pytest.mark.parametrize(
    "text", ["a\u202eb", "a\u200db", "a\ufe0fb", "\x07a\x1bb\x00", "a\u2066b\u2069", "a\u00adb", "a\U000e0041b"]
)
def test_controls_take_no_room(text: str) -> None:
    """Control characters, joiners, bidi overrides and tags leave neither ink nor room."""
    assert font.measure(text, 20) == font.measure("ab", 20)
    assert inked(text, 20).tobytes() == inked("ab", 20).tobytes()


def test_marks_take_no_room_and_both_spellings_look_alike() -> None:
    """A composed letter and its decomposed spelling are the same ink, and a mark adds no width."""
    assert font.measure("e\u0301", 30) == font.measure("e", 30)
    assert inked("é", 30).tobytes() == inked("e\u0301", 30).tobytes()
    assert inked("ṩ", 30).tobytes() != inked("s", 30).tobytes()


def test_marks_stack_upward() -> None:
    """A second mark sits above the first, and what is beyond the bound is left out."""

    def top(text: str) -> int:
        box = inked(text, 30).getbbox()
        assert box is not None
        return box[1]

    assert top("a") > top("a\u0308") > top("a\u0308\u0301")
    assert inked("a" + "\u0301" * 4, 30).tobytes() == inked("a" + "\u0301" * 400, 30).tobytes()


def test_a_capital_and_a_baseline_lie_on_whole_pixels() -> None:
    """Bars stay sharp at small sizes: the top row of E and its bottom row are full ink, with nothing beyond."""
    for size in (10, 12, 16, 20, 28):
        mask = Image.new("L", (size * 2, font.line_height(size)), 0)
        font.draw(mask, (2, 0), "E", size)
        box = mask.getbbox()
        assert box is not None
        baseline = font.ascent(size)
        assert (box[1], box[3]) == (baseline - font.cap_height(size), baseline)


def test_bold_is_darker_and_no_narrower() -> None:
    """The bold weight carries more ink at every size."""
    for size in (8, 16, 32, 64):
        light, dark = inked("pixelog", size), inked("pixelog", size, True)
        assert sum(dark.tobytes()) > sum(light.tobytes())
        assert font.measure("pixelog", size, True) >= font.measure("pixelog", size)


def test_width_grows_with_the_size() -> None:
    """Twice the size is twice the width, to within rounding."""
    for text in ("illumination", "WAVE", "漢字"):
        assert abs(font.measure(text, 60) - 2 * font.measure(text, 30)) <= 2


def test_figures_have_one_width() -> None:
    """Counting figures do not dance."""
    assert len({font.measure(digit * 7, 19) for digit in "0123456789"}) == 1


def test_overlapping_ink_keeps_the_greater_coverage() -> None:
    """Drawing the same text twice changes nothing."""
    mask = inked("Again", 25)
    before = mask.tobytes()
    font.draw(mask, (25, 12), "Again", 25)
    assert mask.tobytes() == before


def test_ink_outside_the_mask_is_cut_off() -> None:
    """Text at any place, however far outside, is drawn as far as it is inside."""
    whole = Image.new("L", (120, 60), 0)
    font.draw(whole, (10, 10), "cut", 30)
    part = Image.new("L", (40, 30), 0)
    font.draw(part, (10 - 20, 10 - 15), "cut", 30)
    assert part.tobytes() == whole.crop((20, 15, 60, 45)).tobytes()
    for xy in ((-10_000, 0), (0, -10_000), (10_000, 10_000)):
        font.draw(part, xy, "far", 96)
    assert part.tobytes() == whole.crop((20, 15, 60, 45)).tobytes()


def test_a_newline_starts_a_line() -> None:
    """The second line is the same ink, one line height lower."""
    mask = Image.new("L", (60, 100), 0)
    font.draw(mask, (5, 0), "ab\nab", 20)
    line = font.line_height(20)
    assert mask.crop((0, 0, 60, line)).tobytes() == mask.crop((0, line, 60, 2 * line)).tobytes()


def test_lines_break_at_spaces_and_fit() -> None:
    """No line is wider than the room, and the words come back in order."""
    text = "the quick brown fox jumps over the lazy dog and rests"
    for width in (60, 100, 170, 400):
        lines = font.wrap(text, width, 16)
        assert all(font.measure(line, 16) <= width for line in lines)
        assert " ".join(lines) == text
    assert font.wrap("one\ntwo\n", 500, 16) == ["one", "two"]
    assert font.wrap("a\n\nb", 500, 16) == ["a", "", "b"]
    assert font.wrap("", 500, 16) == []


def test_a_long_word_is_broken_and_nothing_is_lost() -> None:
    """A word wider than the room is cut into pieces that fit, each at least a letter with its marks."""
    word = "Donaudampfschifffahrtsgesellschaft"
    lines = font.wrap(word, 90, 20)
    assert "".join(lines) == word
    assert all(font.measure(line, 20) <= 90 for line in lines)
    assert font.wrap("abc", 0, 20) == ["a", "b", "c"]
    assert font.wrap("e\u0301e\u0301", 0, 20) == ["e\u0301", "e\u0301"]


def test_lines_are_bounded_and_end_in_an_ellipsis() -> None:
    """At most the lines asked for, never more than the bound, and the last one says that there was more."""
    lines = font.wrap("word " * 100, 100, 16, max_lines=3)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert all(font.measure(line, 16) <= 100 for line in lines)
    assert len(font.wrap("x\n" * 5_000, 100, 16)) == font.MAX_LINES
    assert font.wrap("two words", 400, 16, max_lines=1) == ["two words"]


def test_an_ellipsised_text_fits() -> None:
    """A text that fits is left alone; a longer one keeps its beginning."""
    assert font.ellipsised("short", 200, 16) == "short"
    cut = font.ellipsised("a name that is much too long.png", 100, 16)
    assert cut.endswith("…")
    assert "a name that is much too long.png".startswith(cut[:-1])
    assert font.measure(cut, 16) <= 100


def test_no_character_raises() -> None:
    """A sample of every plane, surrogates and unassigned code points included, is measured, wrapped and drawn."""
    sample = [chr(c) for c in range(0, 0x10000, 61)] + [chr(c) for c in range(0x10000, 0x110000, 9973)]
    mask = Image.new("L", (200, 60), 0)
    for start in range(0, len(sample), 12):
        text = "".join(sample[start : start + 12])
        assert font.measure(text, 10) >= 0
        font.wrap(text, 50, 10)
        font.draw(mask, (0, 0), text, 10)
    font.draw(mask, (0, 0), "\ud800\udfff" + chr(sys.maxunicode), 10)
    assert mask.getbbox() is not None


def test_a_message_is_drawn_quickly() -> None:
    """Sixty characters that have been drawn before take under 10 ms: a message must not cost a frame."""
    text = "The quick brown fox jumps over the lazy dog, and it rests. ok"
    mask = Image.new("L", (700, 40), 0)
    font.draw(mask, (0, 0), text, 18)
    best = 1.0
    for _ in range(20):
        began = time.perf_counter()
        font.draw(mask, (0, 0), text, 18)
        best = min(best, time.perf_counter() - began)
    assert best < 0.010
