"""Who of one host is asked now, and who waits for it."""

from spt_core.continuous.ledger import Source
from spt_core.continuous.poll import ADOPTED
from spt_core.continuous.turns import Turns


def source(name, host, **values):
    return Source(source_id=name, kind="rss", url=f"https://{host}/{name}", **values)


def test_a_hosts_sources_take_turns_in_order_and_other_hosts_do_not_wait():
    turns = Turns(2)
    a, b, c, d = (source(name, "sec.example") for name in "abcd")
    assert [turns.begin(one) for one in (a, b, c, d)] == [True, True, False, False]
    assert turns.begin(source("e", "ecb.example"))
    assert turns.end(b) is c
    assert turns.end(a) is d
    assert turns.end(c) is None
    assert turns.begin(a)
    assert not turns.begin(b)


def test_the_host_is_the_one_that_is_really_asked():
    turns = Turns(1)
    moved = source(
        "a", "old.example", redirect_target="https://new.example/", redirect_count=ADOPTED
    )
    assert turns.begin(moved)
    assert turns.begin(source("b", "old.example"))
    assert not turns.begin(source("c", "NEW.example"))
