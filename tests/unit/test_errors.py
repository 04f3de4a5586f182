from spt_core.errors import nearest


def test_a_near_name_is_suggested():
    assert nearest("amont", ["amount", "location"]) == "the nearest is 'amount'"


def test_otherwise_the_names_are_listed():
    assert nearest("zzz", ["b", "a"]) == "there are: a, b"
    assert nearest("zzz", []) == "there are none"


def test_a_long_list_is_cut():
    assert nearest("zzz", [f"name{i}" for i in range(100)]).endswith(", ...")
