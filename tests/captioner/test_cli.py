import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from captioner.cli import main
from captioner.vision.preprocess import Preprocessing


@pytest.fixture(autouse=True)
def _bundles(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIONER_BUNDLES", str(tiny_bundle.parent))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    for name in ("chelsea", "coffee"):
        Image.fromarray(getattr(data, name)()).resize((120, 90)).save(folder / f"{name}.jpg")
    Image.fromarray(data.rocket()).resize((120, 90)).save(folder / "trip" / "rocket.PNG")
    (folder / "notes.txt").write_text("no picture")
    return folder


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_photo_prints_its_caption(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["caption", str(folder / "chelsea.jpg")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2
    assert printed[1].startswith("confidence 0.")


def test_a_folder_becomes_one_line_a_photo(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert main(["caption", str(folder), "--out", str(out)]) == 0
    lines = _lines(out)
    assert [line["image"] for line in lines] == [
        "photos/chelsea.jpg",
        "photos/coffee.jpg",
        "photos/trip/rocket.PNG",
    ]
    assert all(set(line) == {"image", "caption", "log_prob"} for line in lines)


def test_a_run_goes_on_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    main(["caption", str(folder), "--out", str(out)])
    whole = out.read_bytes()
    lines = whole.splitlines(keepends=True)
    out.write_bytes(lines[0] + lines[1][:9])  # as a crash leaves it: a line cut off
    assert main(["caption", str(folder), "--out", str(out)]) == 0
    assert out.read_bytes() == whole
    assert main(["caption", str(folder), "--out", str(out)]) == 0
    assert out.read_bytes() == whole


def test_a_run_goes_on_from_another_folder_and_another_way_to_the_photos(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["caption", "photos", "--out", "out.jsonl"])
    whole = Path("out.jsonl").read_bytes()
    monkeypatch.chdir(folder)
    assert main(["caption", ".", "chelsea.jpg", "--out", "../out.jsonl"]) == 0
    assert main(["caption", str(folder), "--out", str(tmp_path / "out.jsonl")]) == 0
    assert (tmp_path / "out.jsonl").read_bytes() == whole


def test_photos_of_one_name_in_two_folders_are_both_captioned(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.fromarray(data.astronaut()).resize((90, 120)).save(other / "chelsea.jpg")
    out = tmp_path / "out.jsonl"
    main(["caption", str(folder), "--out", str(out)])
    assert main(["caption", str(other), "--out", str(out)]) == 0
    assert [line["image"] for line in _lines(out)][-1] == "other/chelsea.jpg"
    together = tmp_path / "together.jsonl"
    assert main(["caption", str(folder), str(other), "--out", str(together)]) == 0
    assert _lines(together) == _lines(out)


FOREIGN = [
    b"no picture",
    b'["a"]\n',
    b'["a"]',
    b"{",
    b'{"image": "photos/chelsea.jpg", "label": 3}',
    b'{"image": "photos/chelsea.jpg", "cap\n',
    b"\x89PNG\r\n\x1a\n\x00\x00",
    b"[" * 100_000,
]


@pytest.mark.parametrize("content", FOREIGN, ids=lambda content: str(content[:40]))
def test_an_output_that_captioner_did_not_write_stays_as_it_is(
    folder: Path, tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    out.write_bytes(content)
    assert main(["caption", str(folder / "chelsea.jpg"), "--out", str(out)]) == 2
    assert out.read_bytes() == content
    assert "not written by captioner" in capsys.readouterr().err


def test_bad_files_of_a_folder_are_reported_at_the_end(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing follows")
    (folder / "empty.jpg").write_bytes(b"")
    out = tmp_path / "out.jsonl"
    assert main(["caption", str(folder), "--out", str(out)]) == 1
    assert len(_lines(out)) == 3
    errors = capsys.readouterr().err
    assert "broken.jpg: " in errors
    assert "empty.jpg: " in errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["caption", "nowhere.jpg"],
        ["caption", "{folder}/notes.txt"],
        ["caption", "{folder}/chelsea.jpg", "--n", "5", "--num-beams", "2"],
        ["caption", "{folder}/chelsea.jpg", "--model", "nothing"],
        ["caption", "{folder}", "--out", "{folder}/none/out.jsonl"],
        ["caption", "{folder}", "--out", "{folder}/notes.txt"],
        ["caption", "{folder}", "--out", "{folder}"],
        ["caption", "{folder}", "--out", "{folder}/notes.txt/out.jsonl"],
        ["caption", "{folder}", "--out", "{empty}/{long}"],
        ["caption", "{folder}", "--out", "{long}/out.jsonl"],
        ["caption", "{empty}"],
        ["caption", "{long}"],
        ["caption", "{folder}/chelsea.jpg", "--model", "{long}"],
        ["explain", "{folder}/chelsea.jpg", "--out", "why.gif"],
        ["explain", "{folder}/notes.txt", "--out", "{empty}/why.png"],
        ["explain", "{folder}/chelsea.jpg", "--out", "{empty}/folder.png"],
        ["explain", "{folder}/chelsea.jpg", "--out", "{empty}/{long}.png"],
        ["explain", "{long}", "--out", "{empty}/why.png"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_what_a_user_can_mend_is_a_sentence_and_exit_code_2(
    arguments: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty" / "folder.png").mkdir(parents=True)
    (folder / "notes.txt").write_text("no picture\nno json either\n")
    filled = [a.format(folder=folder, empty=tmp_path / "empty", long="x" * 5000) for a in arguments]
    assert main(filled) == 2
    errors = capsys.readouterr().err
    assert errors.count("captioner: ") == 1
    assert "Traceback" not in errors


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_a_full_disk_is_a_sentence_and_exit_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["caption", str(folder), "--out", "/dev/full"]) == 2
    assert "captioner: No space left on device." in capsys.readouterr().err


def test_an_output_that_may_not_be_written_is_a_sentence_and_exit_code_2(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(path: str, *_: object, **__: object) -> None:  # for root, everything may be written
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("captioner.cli.files.open", refuse, raising=False)
    out = str(tmp_path / "out.jsonl")
    assert main(["caption", str(folder), "--out", out]) == 2
    assert f"captioner: {out}: Permission denied." in capsys.readouterr().err


def test_a_model_is_chosen_by_name_or_directory_from_several_folders(
    folder: Path,
    tmp_path: Path,
    tiny_bundle: Path,
    make_tiny_bundle: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    warns = {"confidence": {"threshold": 1.0}}
    own = make_tiny_bundle(tmp_path / "own", name="mine", metrics=warns)
    hidden = make_tiny_bundle(tmp_path / "own", version="hidden", metrics=warns)
    folders = os.pathsep.join(map(str, (tiny_bundle.parent, own.parent)))
    monkeypatch.setenv("CAPTIONER_BUNDLES", folders)
    assert main(["models"]) == 0
    listed = capsys.readouterr().out
    assert "caption@0" in listed
    assert "mine@0" in listed
    assert "hidden" not in listed, "of two with one name, the first folder's"
    chosen = {"caption": False, "mine": True, str(own): True, str(hidden): True}
    for model, is_warning in chosen.items():
        assert main(["caption", str(folder / "chelsea.jpg"), "--model", model]) == 0
        assert ("not be trusted" in capsys.readouterr().err) is is_warning, model


def test_explain_writes_a_picture(folder: Path, tmp_path: Path) -> None:
    assert main(["explain", str(folder / "coffee.jpg"), "--out", str(tmp_path / "why.png")]) == 0
    with Image.open(tmp_path / "why.png") as picture:
        assert picture.width > 200


def test_explain_draws_the_part_that_a_model_which_crops_has_seen(
    folder: Path, tmp_path: Path, make_tiny_bundle: Callable[..., Path]
) -> None:
    crops = make_tiny_bundle(tmp_path, preprocessing=Preprocessing(fit="crop"))
    Image.new("RGB", (800, 200)).save(tmp_path / "wide.png")
    shapes = []
    for model in ([], ["--model", str(crops)]):
        out = tmp_path / "why.png"
        assert main(["explain", str(tmp_path / "wide.png"), "--out", str(out), *model]) == 0
        with Image.open(out) as picture:
            shapes.append(picture.height)
    assert shapes[1] > 2 * shapes[0], "panels are square, not four times as wide as high"


def test_models_prints_name_licence_and_limits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    assert "caption@0" in printed
    assert "licence: none" in printed
    assert "knows nothing" in printed


def test_a_wrong_option_is_named_and_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["caption", "x.jpg", "--beams", "3"])
    assert stop.value.code == 2
    assert "--beams" in capsys.readouterr().err


def test_a_real_process_leaves_no_traceback(folder: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "captioner", "caption", "nowhere.jpg"],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ,
        check=False,
    )
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert "nowhere.jpg" in run.stderr


def test_help_and_version_need_no_torch() -> None:
    code = (
        "import sys; from captioner.cli import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
