import json

from featherweight.recipes.ledger import Attempt, Entry, Ledger, Verdict, json_safe

ENTRY = Entry(
    index=0,
    technique="fake.noise",
    settings={"amount": 0.1},
    seed=3,
    seconds=1.25,
    before={"encoded_bytes": 10, "latency_ms": 3.0},
    after={"encoded_bytes": 5},
    score_before=0.9,
    score_after=0.89,
    guard=Verdict(0.02, "backed_off", (Attempt(1.0, None), Attempt(0.1, 0.89))),
    details={"curve": [[1, 2]]},
)


def test_entries_come_back_from_json() -> None:
    ledger = Ledger().with_entry(ENTRY).with_entry(Entry(**{**vars(ENTRY), "index": 1, "guard": None}))
    assert Ledger.from_list(json.loads(json.dumps(ledger.to_list()))) == ledger
    assert [entry.index for entry in ledger] == [0, 1]
    assert (len(ledger), ledger[1].guard) == (2, None)


def test_files_hold_neither_times_nor_details() -> None:
    plain = Ledger((ENTRY,)).for_file()[0]
    assert "seconds" not in plain
    assert "details" not in plain
    assert plain["before"] == {"encoded_bytes": 10}
    assert plain["guard"]["attempts"] == [{"strength": 1.0, "score": None}, {"strength": 0.1, "score": 0.89}]


def test_what_json_lacks_becomes_none() -> None:
    assert json_safe({"a": (1.0, float("nan")), 2: [float("inf"), None, "x"]}) == {
        "a": [1.0, None],
        "2": [None, None, "x"],
    }
