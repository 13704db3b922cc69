from featherweight.core.context import Progress
from featherweight.training.progress import SilentProgress


def test_silence(capsys) -> None:
    progress: Progress = SilentProgress()
    with progress.bar("work", 3) as bar:
        bar.advance()
    progress.note("news")
    assert capsys.readouterr() == ("", "")
