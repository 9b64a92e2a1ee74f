"""What schedulers reported of jobs is kept in the folder of their launch."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from qexp.jobs import launchers
from qexp.store.record import State


@pytest.mark.slow
def test_what_was_learned_is_kept_when_many_learn_at_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda task: launchers.remember_states(tmp_path, {f"1_{task}": State.DONE}),
                range(32),
            )
        )
    assert launchers.stored_states(tmp_path) == {f"1_{task}": "done" for task in range(32)}


def test_what_does_not_stay_so_is_not_kept_and_a_requeued_job_is_forgotten(tmp_path):
    launchers.remember_states(
        tmp_path, {"1_0": State.TIMEOUT, "1_1": State.RUNNING, "1_2": State.FAILED}
    )
    assert launchers.stored_states(tmp_path) == {"1_0": "timeout", "1_2": "failed"}
    launchers.remember_states(tmp_path, {"1_0": State.QUEUED})
    assert launchers.stored_states(tmp_path) == {"1_2": "failed"}


def test_a_damaged_memory_is_no_obstacle(tmp_path):
    for content in (b"", b"\xff{", b"[1]", b'{"1_0": 3}'):
        (tmp_path / "states.json").write_bytes(content)
        assert launchers.stored_states(tmp_path) == {}
    launchers.remember_states(tmp_path, {"1_0": State.DONE})
    assert launchers.stored_states(tmp_path) == {"1_0": "done"}
    launchers.remember_states(tmp_path / "nowhere", {"1_0": State.DONE})
