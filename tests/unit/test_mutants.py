"""The table of mutants: each still fits the code it changes, and names tests that are there."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.support.paths import ROOT, SRC
from tests.torture.mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
def test_a_mutant_changes_one_place_and_names_its_tests(mutant: Mutant) -> None:
    assert (SRC / mutant.file).read_text().count(mutant.old) == 1, "the code has changed: correct `old` and `new`"
    assert mutant.new != mutant.old
    assert mutant.tests
    for path, _, name in (test.partition("::") for test in mutant.tests):
        assert f"def {name}" in (ROOT / "tests" / path).read_text()


def test_descriptions_tell_mutants_apart() -> None:
    assert Counter(mutant.what for mutant in MUTANTS).most_common(1)[0][1] == 1
