"""Every command's ends: bad input and places that cannot be used, faults, Ctrl-C, and an output that fails."""

import errno
import getpass
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.calibration import __main__ as calibration
from bench.gpu import __main__ as gpu
from bench.gpu import probe
from speedclaims import boundary, cli
from speedclaims.record import schema
from speedclaims.report.markdown import index
from tests.speedclaims.comparing import measured, record, save
from trainers import __main__ as trainers

BAD_INPUT, FAULT, INTERRUPTED = 2, 70, 130
LONG = "x" * 300
DEEP = "[" * 100_000


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder in which commands run, with a record, a text, a folder and links in a circle."""
    (tmp_path / "place" / "folder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "place")
    save(Path("run.json"), record(measured("a")))
    Path("text").write_text("words\n")
    Path("marked").write_text("<!-- speedclaims: b.speedup -->2x<!-- end -->\n")
    Path("binary").write_bytes(b"\xff\xfe\x00")
    Path("deep.json").write_text(DEEP)
    Path("damaged.json").write_text(json.dumps({"speedclaims": {"schema_version": 1, "claims": [{"low": []}]}}))
    Path("loop").symlink_to("loop")
    return Path()


BAD = [
    (cli, "report missing.json -o out", "speedclaims: missing.json: the record cannot be read (No such file"),
    (cli, "report folder -o out", "speedclaims: folder: the record cannot be read (Is a directory)"),
    (cli, f"report {LONG} -o out", "the record cannot be read (File name too long)"),
    (cli, "report loop -o out", "the record cannot be read (Too many levels of symbolic links)"),
    (cli, "report text/below -o out", "the record cannot be read (Not a directory)"),
    (cli, "report binary -o out", "speedclaims: binary: not a record (it is not text)"),
    (cli, "report deep.json -o out", "speedclaims: deep.json: damaged or not JSON"),
    (cli, "report run.json -o text", "give a directory that can be written"),
    (cli, f"report run.json -o {LONG}", "File name too long"),
    (cli, "report run.json -o loop", "give a directory that can be written"),
    (cli, "report run.json", "the following arguments are required: -o/--out"),
    (cli, "compare run.json damaged.json", "speedclaims: damaged.json: "),
    (cli, "compare run.json run.json --fail -1", "argument --fail: '-1' is not a positive number of percent"),
    (cli, "export run.json --to csv -o run.json", "run.json: it is an input too"),
    (cli, f"export run.json --to csv -o {LONG}", "it cannot be written (File name too long)"),
    (cli, "export run.json --to csv -o loop", "it cannot be written (Too many levels of symbolic links)"),
    (cli, "export run.json --to pdf", "argument --to: invalid choice: 'pdf'"),
    (cli, "docs --check binary", "speedclaims: binary: it is not text"),
    (cli, "docs --write loop", "speedclaims: loop: Too many levels of symbolic links"),
    (cli, f"docs --check {LONG}", "File name too long"),
    (cli, "docs --check marked --record damaged.json", "speedclaims: damaged.json: "),
    (cli, f"docs --check marked --record {LONG}", "File name too long"),
    (cli, "docs --check marked --record loop", "loop: no such file or folder"),
    (cli, "docs --check marked", "reports: no such file or folder"),
    (cli, "docs --check marked --record run.json", "marked:1: no record has 'b'"),
    (cli, "docs marked", "one of the arguments --check --write is required"),
    (cli, "docs --check marked --max-age -1", "argument --max-age: '-1' is not a positive number of days"),
    (cli, "audit folder", "the ledger cannot be read (Is a directory)"),
    (cli, f"audit {LONG}", "the ledger cannot be read (File name too long)"),
    (cli, "audit binary", "not a TOML file"),
    (cli, "audit", "no ledger here"),
    (cli, "doctor --timeout nan", "argument --timeout: 'nan' is not a positive number of seconds"),
    (cli, "calibrate now", "unrecognized arguments: now"),
    (cli, "explain", "argument COMMAND: invalid choice: 'explain'"),
    (cli, "", "the following arguments are required: COMMAND"),
    (index, "missing", "speedclaims: missing: no such folder"),
    (index, f"{LONG}", "File name too long"),
    (schema, "folder", "speedclaims: folder: Is a directory"),
    (schema, f"{LONG}", "File name too long"),
    (schema, "--help-me", "unrecognized arguments: --help-me"),
    (calibration, "coverage -o folder", "speedclaims: folder: Is a directory"),
    (calibration, "gate -o text/below", "text"),
    (calibration, f"runs -o {LONG}", "File name too long"),
    (calibration, "gate-runs --results text/below", "text"),
    (calibration, "between --results folder", "speedclaims: folder: Is a directory"),
    (calibration, "estimators --results text -o text", "text: it is an input too"),
    (calibration, "estimators --results text", "text: not the results of between"),
    (calibration, "coverage --sessions 0", "argument --sessions: '0' is not a positive whole number"),
    (calibration, "gate-process nothing", "'nothing': no such pair"),
    (gpu, "--keep missing.json", "error: missing.json: the record cannot be read"),
    (gpu, "--keep deep.json", "error: deep.json: damaged"),
    (gpu, "--minutes 0", "argument --minutes: '0': give minutes"),
    (gpu, "--family nobody", "argument --family: invalid choice: 'nobody'"),
    (probe, "out huge", "invalid choice: 'huge'"),
    (trainers, "nobody train", "error: python -m trainers: argument FAMILY: invalid choice: 'nobody'"),
    (trainers, "tabular_regressor train --seed -1", "argument --seed: -1 is below 0"),
    (trainers, f"tabular_regressor train --seed {2**63}", "argument --seed: 9223372036854775808 is above"),
    (trainers, "tabular_regressor train --epochs 0", "argument --epochs: 0 is below 1"),
    (trainers, "tabular_regressor train --config folder", "error: folder: cannot be read (Is a directory)"),
    (trainers, f"tabular_regressor train --config {LONG}", "cannot be read (File name too long)"),
    (trainers, f"tabular_regressor train --data {LONG} --out out", "File name too long"),
    (trainers, "tabular_regressor train --data loop --out out", "error: "),
    (trainers, "tabular_regressor train --data folder --out out", "error: folder"),
    (trainers, f"tabular_regressor train --preset tiny --out {LONG}", "File name too long"),
    (trainers, "tabular_regressor train --resume text --out out", "error: text"),
    (trainers, "tabular_regressor make-data --out text/below", "error: "),
    (trainers, f"tabular_regressor make-data --out {LONG}", "File name too long"),
    (trainers, "tabular_regressor predict --checkpoint folder", "error: folder: cannot be read (Is a directory)"),
    (trainers, f"text_to_image train --preset tiny --data {LONG} --out out", "error: "),
    (trainers, "text_to_image train --preset tiny --data text --out out", "error: "),
    (trainers, "text_to_image make-data --preset tiny --out text/below", "error: "),
    (trainers, "text_to_image sample --checkpoint missing --caption sand", "error: missing: cannot be read"),
    (trainers, f"dialogue_gan train --preset tiny --data {LONG} --out out", "error: "),
    (trainers, "dialogue_gan make-data --preset tiny --out text/below", "error: "),
    (trainers, "dialogue_gan sample --checkpoint folder", "error: folder: cannot be read (Is a directory)"),
]


@pytest.mark.parametrize(
    ("module", "arguments", "line"),
    BAD,
    ids=[f"{module.__name__} {arguments[:60]}".replace("__main__ ", "") for module, arguments, _ in BAD],
)
def test_bad_input_and_places_that_cannot_be_used_are_one_line_and_the_code_2(
    module, arguments, line, place, capsys, private_cache
):
    try:
        code = module.main(arguments.split())
    except SystemExit as error:  # the parser's, which shows how a command is used too
        code = error.code
        is_usage = True
    else:
        is_usage = False
    said = capsys.readouterr()
    assert (code, said.out) == (BAD_INPUT, "")
    assert "Traceback" not in said.err
    last = said.err.rstrip("\n").rpartition("\n")[2] if is_usage else said.err
    assert line in last
    assert last.count("\n") == (0 if is_usage else 1)
    assert not Path("out").exists() or list(Path("out").iterdir()) == []


FAULTS = [
    (cli, "_report", "report run.json -o out"),
    (cli, "_compare", "compare run.json run.json"),
    (cli, "_export", "export run.json --to csv"),
    (cli, "_docs", "docs --check text"),
    (cli, "_audit", "audit text"),
    (cli, "_doctor", "doctor"),
    (cli, "_calibrate", "calibrate"),
    (index, "_write", "folder"),
    (schema, "text", "out.json"),
    (calibration, "_gate", "gate"),
    (gpu, "_keep", "--keep run.json"),
    (probe, "_compile", "--compile one out"),
    (trainers, "_commands", "tabular_regressor train"),
]


@pytest.fixture(params=FAULTS, ids=[f"{module.__name__} {name}" for module, name, _ in FAULTS])
def failing(request, place, monkeypatch):
    """Let a command raise an error; return a function that runs it."""
    module, name, arguments = request.param

    def run(error):
        def fail(*_):
            raise error

        monkeypatch.setattr(module, name, fail)
        return module.main(arguments.split())

    return run


def test_an_error_that_nobody_expected_is_one_line_with_its_traceback_in_a_file(failing, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert failing(ZeroDivisionError("by\nnothing")) == FAULT
    said = capsys.readouterr()
    found = re.fullmatch(
        r"(?:speedclaims|error): unexpected ZeroDivisionError: by nothing; its traceback is in (\S+): "
        r"please report this\n",
        said.err,
    )
    text = Path(found[1]).read_text()
    assert text.startswith("Traceback")
    assert "in fail" in text
    assert said.out == ""


def test_ctrl_c_is_one_word_and_the_code_130(failing, capsys):
    assert failing(KeyboardInterrupt()) == INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/shut/x"), "/shut/x: Permission denied: name a place"),
        (
            PermissionError(errno.EACCES, "Permission denied", b"/shut/x"),
            "/shut/x: Permission denied: name a place",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "the output cannot be written (No space left on device)"),
        (OSError(errno.EPIPE, "Broken pipe"), "the output cannot be written (Broken pipe): send it elsewhere"),
        (OSError("the file's signature is wrong\nsee above"), "the file's signature is wrong see above"),
        (OSError(), "OSError"),
    ],
)
def test_a_place_that_cannot_be_used_is_bad_input_and_no_fault(error, line, capsys):
    def command():
        raise error

    assert boundary.run(command, (), "speedclaims") == BAD_INPUT
    said = capsys.readouterr().err
    assert said.startswith(f"speedclaims: {line}")
    assert said.count("\n") == 1


def test_where_the_traceback_cannot_be_kept_the_line_says_where_the_error_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))

    def command():
        return 1 // 0

    assert boundary.run(command, (), "speedclaims") == FAULT
    said = capsys.readouterr().err
    assert re.search(
        rf"ZeroDivisionError: .* in {re.escape(__file__)}, line \d+; its traceback cannot be written", said
    )


def test_the_exit_code_of_a_command_is_its_own(capsys):
    assert [boundary.run(lambda code=code: code, ValueError, "x") for code in (0, 1, 3)] == [0, 1, 3]
    with pytest.raises(SystemExit) as caught:
        boundary.run(lambda: sys.exit(5), ValueError, "x")
    assert caught.value.code == 5
    assert capsys.readouterr().err == ""


# -- outputs that fail ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A folder with a record and a ledger whose words few terminals can show."""
    folder = tmp_path_factory.mktemp("spöken")
    row = {**measured("a", after="≥ 2"), "title": "Schneller: „mit“ ≥ 2 \udc80"}
    save(folder / "rün.json", record(row))
    marker = "<!-- speedclaims: a.speedup -->≥ 3<!-- end -->"
    (folder / "wörter.md").write_text(marker, encoding="utf-8")
    (folder / "audits.py").write_text(
        "from speedclaims.audit import Recomputed\n"
        "def twice():\n    return Recomputed(claimed='≥ 2', recomputed='3', formula='a ÷ b', consistent=True)\n"
    )
    (folder / "claims.toml").write_text(
        '[[claim]]\nid = "q"\nsource = "Wiki, ≥"\ntext = "„zweimal“"\nkind = "arithmetic"\naudit = "twice"\n',
        encoding="utf-8",
    )
    return folder


SPEAKING = {
    "export, CSV": ("export rün.json --to csv", 0),
    "export, Markdown": ("export rün.json --to markdown", 0),
    "export, JSON": ("export rün.json --to bencher", 0),
    "compare": ("compare rün.json rün.json", 0),
    "docs": ("docs --check wörter.md --record rün.json", 1),
    "audit": ("audit claims.toml", 0),
    "report": ("report rün.json -o neü", 0),
}


def start(folder, arguments, module="speedclaims", **options):
    environment = {**os.environ, "PYTHONUTF8": "0", **options.pop("env", {})}
    environment.pop("PYTHONUNBUFFERED", None)
    command = [sys.executable, "-m", module, *arguments.split()]
    done = subprocess.run(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, timeout=300, check=False, **options
    )
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("name", SPEAKING)
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_words_that_the_output_cannot_show_are_escaped(spoken, name, encoding, tmp_path):
    arguments, code = SPEAKING[name]
    with (tmp_path / "said").open("wb") as out:
        done = start(spoken, arguments, stdout=out, env={"PYTHONIOENCODING": encoding})
    assert done[0] == code, done[1]
    assert "Traceback" not in done[1]
    text = (tmp_path / "said").read_bytes().decode(encoding)
    assert text
    if name in {"export, CSV", "export, Markdown"}:
        assert "\\u2265 2" in text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize(
    "arguments", [*(arguments for arguments, _ in SPEAKING.values()), "doctor --timeout 1", "--help"]
)
def test_a_full_disk_is_one_line_and_the_code_2(spoken, arguments):
    with Path("/dev/full").open("w") as full:
        code, said = start(spoken, arguments, stdout=full)
    line = "speedclaims: the output cannot be written (No space left on device): send it elsewhere\n"
    assert (code, said) == (BAD_INPUT, line)


@pytest.mark.parametrize("arguments", ["audit claims.toml", "compare rün.json rün.json", "export rün.json --to csv"])
def test_an_output_that_is_closed_is_one_line_and_the_code_2(spoken, arguments):
    done = start(spoken, arguments, preexec_fn=lambda: os.close(1))
    assert done == (BAD_INPUT, "speedclaims: the output cannot be written (it is closed): send it elsewhere\n")


def test_a_reader_that_goes_away_changes_no_exit_code(spoken):
    save(spoken / "slow.json", record(measured("a", speedup=1.0)))
    reader, writer = os.pipe()
    os.close(reader)
    assert start(spoken, "compare rün.json slow.json", stdout=writer) == (1, "")
    os.close(writer)


@pytest.mark.parametrize("module", ["speedclaims", "trainers"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_error_stream_that_fails_changes_no_exit_code(spoken, module, unbuffered):
    arguments = {"speedclaims": "compare missing.json missing.json", "trainers": "tabular_regressor train missing"}
    command = [sys.executable, "-m", module, *arguments[module].split()]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=spoken, env=environment, preexec_fn=lambda: os.close(2), check=False)
    assert done.returncode == BAD_INPUT
    if Path("/dev/full").exists():
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(command, cwd=spoken, env=environment, stderr=full, check=False)
        assert done.returncode == BAD_INPUT


# -- people without a home -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["no rights", "too long", "nobody's", "taken by others"])
def test_the_offline_data_lies_elsewhere_where_home_cannot_be_used(name, tmp_path, monkeypatch):
    from trainers.common import cache_dir

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    home = {"too long": str(tmp_path / LONG)}.get(name, str(tmp_path / "home"))
    monkeypatch.setenv("HOME", home)
    if name == "nobody's":

        def missing():
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(cache_dir.Path, "home", missing)
    if name == "taken by others":
        (temporary / "trainers").touch()
        (tmp_path / "home").touch()

    def is_good(path):
        if name == "no rights" and path.is_relative_to(home):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return path.exists()

    def write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    found = cache_dir.get_or_create("family", "name", write, is_good=is_good)
    assert found.is_relative_to(temporary)
    assert found.is_file()
    assert cache_dir.get_or_create("family", "name", write, is_good=is_good) == found


def test_a_user_without_a_name_gets_one(monkeypatch):
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)

    def unknown(_):
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    monkeypatch.setenv("USER", "")
    trainers._name_user()
    assert getpass.getuser() == f"user-{os.getuid()}"
