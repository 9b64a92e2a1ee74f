"""A complete folder replaces an old one, or the old one stays."""

import pytest

from qexp import files


def folder(path, text):
    path.mkdir()
    (path / "file").write_text(text)
    return path


@pytest.mark.parametrize("there_was_one", [True, False])
def test_a_folder_gets_its_name_and_the_old_one_is_moved_away(tmp_path, there_was_one):
    if there_was_one:
        folder(tmp_path / "place", "old")
    files.put_folder(folder(tmp_path / "draft", "new"), tmp_path / "place", tmp_path / "before")
    assert (tmp_path / "place/file").read_text() == "new"
    assert (tmp_path / "before").exists() == there_was_one
    assert not (tmp_path / "draft").exists()


def test_the_old_folder_is_back_if_the_draft_is_gone(tmp_path):
    folder(tmp_path / "place", "old")
    with pytest.raises(FileNotFoundError):
        files.put_folder(tmp_path / "draft", tmp_path / "place", tmp_path / "before")
    assert (tmp_path / "place/file").read_text() == "old"
    assert not (tmp_path / "before").exists()
