import json
import shutil


def test_a_run_becomes_one_page(call, finished, tmp_path):
    target = tmp_path / "report.html"
    answer = call("report", finished.directory, "-o", target, "--json")
    assert (answer.code, answer.err) == (0, "")
    page = target.read_text(encoding="utf-8")
    assert json.loads(answer.out)["bytes"] == len(page.encode())
    for words in (
        "digits",
        "From dense to coded",
        "How sensitive each layer is",
        "The weights and the values they share",
    ):
        assert words in page


def test_the_page_is_called_report_by_default(call, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("report", finished.directory).out.startswith("report.html: ")
    assert (tmp_path / "report.html").is_file()


def test_what_is_no_run_or_a_damaged_one_is_one_line(call, finished, tmp_path):
    damaged = shutil.copytree(finished.directory, tmp_path / "damaged")
    (damaged / "ledger.json").write_text("[{]")
    torn = shutil.copytree(finished.directory, tmp_path / "torn")
    (torn / "result.fwt").write_bytes((torn / "result.fwt").read_bytes()[:100])
    (tmp_path / "empty").mkdir()
    for run, code in (("none", 66), ("empty", 74), ("damaged", 74), ("torn", 65)):
        answer = call("report", tmp_path / run, "-o", tmp_path / "report.html")
        assert (answer.code, answer.out, answer.err.count("\n")) == (code, "", 1), run
    assert not (tmp_path / "report.html").exists()
