"""Writing looks at what is there: links, devices, pipes, folders, other names of a file, and other processes."""

import multiprocessing
import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from speedclaims.record import files
from speedclaims.record import paths as record_paths
from tests.speedclaims.report.sample import sample_record

needs_unix = pytest.mark.skipif(sys.platform == "win32", reason="there are no such files on Windows")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_link_stays_and_the_file_behind_it_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "target").write_text("old")
    (tmp_path / "link").symlink_to("far/target")
    files.write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "target").read_text() == "new"
    assert names(tmp_path) == ["far", "link"]


def test_a_link_to_nothing_is_filled(tmp_path):
    (tmp_path / "link").symlink_to("later/target")
    files.write_text(tmp_path / "link", "new")
    assert (tmp_path / "later" / "target").read_text() == "new"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("name", ["folder", "link"])
def test_a_folder_is_refused_and_so_is_a_link_to_one(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    for write in (files.write_text, lambda path, _: files.check_output(path)):
        with pytest.raises(IsADirectoryError):
            write(tmp_path / name, "new")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "folder") == []


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        files.write_text(tmp_path / "a", "new")
    assert names(tmp_path) == ["a", "b"]


@needs_unix
def test_a_device_is_written_to_and_stays_one():
    files.write_text(Path(os.devnull), "new")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    if Path("/dev/full").exists():
        with pytest.raises(OSError, match="No space left"):
            files.write_text(Path("/dev/full"), "new")


@needs_unix
def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    found = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_text()))
    reader.start()
    files.write_text(tmp_path / "pipe", "new\n")
    reader.join(timeout=60)
    assert found == ["new\n"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_the_permissions_of_a_file_stay(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o640)
    files.write_text(path, "new")
    assert (stat.S_IMODE(path.stat().st_mode), path.read_text()) == (0o640, "new")


def test_a_file_that_may_not_be_written_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o444)
    monkeypatch.setattr(files.os, "access", lambda *_: False)  # root may write it all the same
    for write in (lambda: files.write_text(path, "new"), lambda: files.check_output(path)):
        with pytest.raises(PermissionError):
            write()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_name_as_long_as_a_name_may_be_is_written(tmp_path):
    path = tmp_path / ("x" * 255)
    files.write_text(path, "new")
    assert path.read_text() == "new"
    with pytest.raises(OSError, match="too long"):
        files.write_text(tmp_path / ("x" * 256), "new")


def test_text_that_is_no_unicode_is_escaped(tmp_path):
    files.write_text(tmp_path / "file", "half \udc80")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "half \\udc80"


@pytest.mark.parametrize("how", ["itself", "relative", "dots", "link", "hard link", "linked folder"])
def test_an_input_is_known_by_all_of_its_names(tmp_path, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    read = tmp_path / "read.json"
    read.write_text("{}")
    (tmp_path / "link").symlink_to("read.json")
    (tmp_path / "hard").hardlink_to(read)
    (tmp_path / "folder").symlink_to(".")
    outputs = {
        "itself": read,
        "relative": Path("read.json"),
        "dots": tmp_path / "folder" / ".." / tmp_path.name / "read.json",
        "link": Path("link"),
        "hard link": Path("hard"),
        "linked folder": Path("folder/read.json"),
    }
    with pytest.raises(files.OutputError, match="it is an input too"):
        files.refuse_inputs([tmp_path / "other", outputs[how]], [read])
    files.refuse_inputs([tmp_path / "other", tmp_path / "another"], [read, tmp_path / "missing"])


def test_a_folder_is_checked_by_writing(tmp_path, monkeypatch):
    files.check_folder(tmp_path / "new" / "deep")
    assert names(tmp_path / "new" / "deep") == []

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.check_folder(tmp_path / "new")
    assert names(tmp_path / "new") == ["deep"]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_new_file_never_takes_the_place_of_another(tmp_path, monkeypatch, has_links):
    if not has_links:

        def link(*_):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(files.os, "link", link)
    files.write_new(tmp_path / "deep" / "file", "first")
    with pytest.raises(FileExistsError):
        files.write_new(tmp_path / "deep" / "file", "second")
    assert (tmp_path / "deep" / "file").read_text() == "first"
    assert names(tmp_path / "deep") == ["file"]


def _file_records(folder, barrier):
    for _ in range(15):
        barrier.wait()
        record_paths.file(sample_record(), "tables", folder)


def test_of_two_processes_that_file_records_at_once_both_keep_theirs(tmp_path):
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    barrier = context.Barrier(2)
    both = [context.Process(target=_file_records, args=(tmp_path, barrier)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(timeout=120)
    assert [one.exitcode for one in both] == [0, 0]
    (folder,) = tmp_path.iterdir()
    assert len(list(folder.glob("*.json"))) == len(list(folder.glob("*.md"))) == 30
    assert len(names(folder)) == 60


def test_files_that_others_keep_beside_records_stay(tmp_path):
    made = sample_record()
    folder = tmp_path / record_paths.machine(made["speedclaims"]["environment"])
    folder.mkdir()
    name = record_paths.stem(made)
    (folder / f"{name}.md").write_text("notes")
    (folder / f"{name}-2.json").write_text("{}")
    assert record_paths.file(made, "tables", tmp_path) == folder / f"{name}-3.json"
    assert (folder / f"{name}.md").read_text() == "notes"
    assert names(folder) == sorted([f"{name}.md", f"{name}-2.json", f"{name}-3.json", f"{name}-3.md"])


def test_files_that_are_written_together_come_from_one_process(tmp_path):
    """Two threads are two holders of the lock, as two processes are: each opens the folder itself."""
    inside, most = [], []

    def hold():
        for _ in range(20):
            with files.locked(tmp_path):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    both = [threading.Thread(target=hold) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(timeout=60)
    assert most == [1] * 40


def test_a_lock_that_nobody_gives_back_is_waited_for_some_seconds_only(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_MOST_LOCKED_S", 0.05)
    with files.locked(tmp_path), files.locked(tmp_path):
        pass


@pytest.mark.parametrize("missing", ["the module", "the file system's locks"])
def test_without_locks_files_are_written_all_the_same(tmp_path, monkeypatch, missing):
    if missing == "the module":
        monkeypatch.setattr(files, "fcntl", None)
    else:

        def flock(*_):
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(files.fcntl, "flock", flock)
    assert files.write_together(tmp_path, {"a": "1", "b": "2"}) == [tmp_path / "a", tmp_path / "b"]
    assert names(tmp_path) == ["a", "b"]
