import hashlib
import json


def test_a_sound_file_is_ok(call, finished):
    answer = call("verify", finished.file)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"{finished.file}: ok, 4 tensors")


def test_the_digest_is_that_of_the_content(call, finished):
    found = json.loads(call("verify", finished.file, "--json").out)
    assert found["ok"] is True
    assert found["sha256"] == hashlib.sha256(finished.file.read_bytes()[:-32]).hexdigest()
