"""Class codes, names and colours belong together."""

from __future__ import annotations

import re

import pytest

from cube.lithology import CLASS_COUNT, COLOURS, Lithology, parse


def test_codes_are_a_row_without_gaps() -> None:
    assert [int(member) for member in Lithology] == list(range(CLASS_COUNT))
    assert Lithology.NODATA == 0


def test_every_class_has_a_colour_of_its_own() -> None:
    assert set(COLOURS) == set(Lithology)
    assert len(set(COLOURS.values())) == CLASS_COUNT
    assert all(re.fullmatch("#[0-9a-f]{6}", member.colour) for member in Lithology)


@pytest.mark.parametrize("member", list(Lithology))
def test_a_class_is_known_by_code_name_and_label(member: Lithology) -> None:
    for spelling in (
        int(member),
        str(int(member)),
        f" {int(member)} ",
        member.name,
        member.label,
        member.name.lower().replace("_", " "),
        member.name.replace("_", "-").title(),
    ):
        assert parse(spelling) is member


@pytest.mark.parametrize("value", ["granite", "", "99", 99, -1, "-1", "²"])
def test_an_unknown_class_is_named_with_those_there_are(value: int | str) -> None:
    with pytest.raises(ValueError, match="7 Detritic") as caught:
        parse(value)
    assert repr(value) in str(caught.value)
    assert "12 Non-foliated" in str(caught.value)
