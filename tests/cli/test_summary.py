from featherweight.cli import summary
from featherweight.recipes.ledger import Attempt, Entry, Verdict


def entry(guard, after=0.98):
    sizes = {"encoded_bytes": 1234}
    return Entry(
        index=0,
        technique="a.b.c",
        settings={},
        seed=0,
        seconds=1.5,
        before=sizes,
        after=sizes,
        score_before=0.99,
        score_after=after,
        guard=guard,
    )


def test_steps_show_what_the_guard_decided(capsys):
    backed = Verdict(0.01, "backed_off", (Attempt(None, 0.5),))
    summary._steps([entry(None), entry(backed), entry(Verdict(0.01, "odd", ()), after=None)])
    out = capsys.readouterr().out
    for words in ("none", "backed off", "odd", "1.23 KB", "99.00 %", "98.00 %", "—"):
        assert words in out


def test_what_a_recipe_may_cost_in_words():
    assert summary._allowed(None) == "any score"
    assert summary._allowed(0.005) == "at most 0.005 of the score"
