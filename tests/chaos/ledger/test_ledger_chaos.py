"""Samples of the chaos commands of this folder; each command's --help tells how to run it whole."""

import os

import pytest

from tests.chaos.ledger import bytecode_kills, frozen_leader, mutants, random_kills
from tests.chaos.ledger.databases import BACKENDS, SERVER, fresh

each_backend = pytest.mark.parametrize("backend", BACKENDS)


def require(backend):
    if backend == "postgres" and not os.environ.get(SERVER):
        pytest.skip(f"{SERVER} names no Postgres server to make databases on")


@pytest.mark.slow
def test_a_kill_at_some_bytecodes_harms_nothing():
    with bytecode_kills.zygote() as (template, folder):
        total, trials = bytecode_kills.kills(template, folder, "3", seed=os.getpid())
        assert total > 10_000
        assert bytecode_kills.run(trials, folder) == {}


@pytest.mark.slow
def test_a_kill_at_any_bytecode_harms_nothing():
    with bytecode_kills.zygote() as (template, folder):
        total, trials = bytecode_kills.all_states(template, folder)
        assert total > 10_000
        assert len(trials) > 50
        assert bytecode_kills.run(trials, folder, workers=2) == {}


@pytest.mark.slow
@each_backend
@pytest.mark.parametrize("watchers", [1, 2])
def test_random_kills_of_watchers_harm_nothing(backend, watchers):
    require(backend)
    with fresh(backend) as paths:
        outcome = random_kills.torment(paths, kills=20, watchers=watchers, seed=os.getpid())
    assert outcome.problems == []
    assert outcome.num_items == 20


@pytest.mark.slow
@each_backend
def test_a_leader_frozen_past_his_lease_is_fenced_every_time(backend):
    require(backend)
    with fresh(backend) as paths:
        outcome = frozen_leader.quickly(lambda: frozen_leader.torment(paths, times=5))
    assert outcome.problems == []
    assert outcome.num_writes > 0
    assert outcome.num_fenced == outcome.num_writes


@pytest.mark.slow
@pytest.mark.parametrize("name", mutants.MUTANTS)
def test_a_mutant_is_seen(name):
    assert mutants.is_seen(name)
