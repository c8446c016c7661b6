from pathlib import Path

import pytest

from captioner.errors import DataError
from training.data.location import data_folders, locate


def test_the_working_directory_comes_first_then_captioner_data_then_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("elsewhere", "data"):
        (tmp_path / folder).mkdir()
        for name in ("one", "two") if folder == "elsewhere" else ("one", "two", "three"):
            (tmp_path / folder / name).touch()
    (tmp_path / "one").touch()
    monkeypatch.setenv("CAPTIONER_DATA", str(tmp_path / "elsewhere"))
    assert locate("one") == [tmp_path / "one"]
    assert locate("two") == [tmp_path / "elsewhere" / "two"]
    assert locate("three") == [tmp_path / "data" / "three"]


def test_a_glob_gives_all_files_of_the_first_folder_that_has_any(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("b.csv", "a.csv", "c.json"):
        (tmp_path / "data" / name).touch()
    assert [path.name for path in locate("*.csv")] == ["a.csv", "b.csv"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "[1].csv").touch()
    (tmp_path / "1.csv").touch()
    assert locate("[1].csv") == [tmp_path / "[1].csv"]


def test_an_absolute_path_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    assert locate(tmp_path / "x", folders=[]) == [tmp_path / "x"]


def test_what_is_nowhere_is_named_with_every_place_looked_at(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="photos") as caught:
        locate("photos.csv")
    assert str(tmp_path / "photos.csv") in str(caught.value)
    assert str(tmp_path / "data" / "photos.csv") in str(caught.value)
    assert "CAPTIONER_DATA" in caught.value.hint


def test_a_data_folder_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match="no/such/folder"):
        data_folders({"CAPTIONER_DATA": "no/such/folder"})
