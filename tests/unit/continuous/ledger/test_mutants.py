"""The faults that chaos tests put into the ledger are still in its text, whoever renames what."""

import pytest

from tests.chaos.ledger import mutants


@pytest.mark.parametrize("name", mutants.MUTANTS)
def test_a_mutant_still_applies(name):
    mutants.Mutation(mutants.MUTANTS[name])
