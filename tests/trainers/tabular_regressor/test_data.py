"""The tabular regressor's data: reading, scaling, splits, made-up tables, and the order of batches.

Shape suffixes: N rows, F features, K targets.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import trainers
from trainers.contract import BadInput
from trainers.pytorch.loading import EpochSampler, make_loader, stop_workers
from trainers.tabular_regressor import data as files
from trainers.tabular_regressor.config import RegressorConfig
from trainers.tabular_regressor.data import Scaling, load_data, make_data, read_arrays

pytestmark = pytest.mark.usefixtures("private_cache", "one_thread")

ROOT = Path(trainers.__file__).parents[1]
TINY = RegressorConfig.preset("tiny")


def write(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
    return path


@pytest.fixture
def raw():
    """X with a constant column, and Y with one whose quartiles agree."""
    random = np.random.default_rng(0)
    features_NF = random.normal(5, 3, (60, 4)).astype(np.float32)
    targets_NK = random.normal(-2, 9, (60, 3)).astype(np.float32)
    features_NF[:, 1] = 0.1
    targets_NK[:, 2] = 7
    targets_NK[:5, 2] = 1e4
    return features_NF, targets_NK


def test_preprocessing_is_the_numpy_formula(tmp_path, raw):
    features_NF, targets_NK = (array.astype(np.float64) for array in raw)
    loaded = load_data(write(tmp_path / "a.h5", X=raw[0], Y=raw[1]), TINY)
    deviation_F = features_NF.std(axis=0)
    deviation_F[1] = 1
    low_K, middle_K, high_K = np.percentile(targets_NK, [25, 50, 75], axis=0)
    iqr_K = high_K - low_K
    assert iqr_K[2] == 0
    iqr_K[2] = 1
    expected_features = (features_NF - features_NF.mean(axis=0)) / deviation_F
    np.testing.assert_allclose(loaded.features_NF.numpy(), expected_features, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(loaded.targets_NK.numpy(), (targets_NK - middle_K) / iqr_K, rtol=1e-6, atol=1e-6)
    assert loaded.features_NF.dtype == loaded.targets_NK.dtype == torch.float32


def test_a_constant_column_becomes_zeros_and_no_noise(tmp_path, raw):
    loaded = load_data(write(tmp_path / "a.h5", X=raw[0], Y=raw[1]), TINY)
    assert loaded.features_NF[:, 1].abs().max() < 1e-6


def test_scaling_back_undoes_the_scaling(raw):
    scaling = Scaling.of(*raw)
    np.testing.assert_allclose(scaling.unscale_targets(scaling.scale_targets(raw[1])), raw[1], rtol=1e-5, atol=1e-4)
    again = Scaling.from_dict(scaling.to_dict())
    assert all(np.array_equal(value, vars(again)[name]) for name, value in vars(scaling).items())


def test_a_transposed_file_is_turned_round_and_it_says_so(tmp_path, raw, caplog):
    upright = read_arrays(write(tmp_path / "a.h5", X=raw[0], Y=raw[1]))
    assert not caplog.records
    turned = read_arrays(write(tmp_path / "b.h5", X=raw[0].T, Y=raw[1].T))
    assert "transposed" in caplog.text
    assert all(np.array_equal(one, other) for one, other in zip(upright, turned, strict=True))


@pytest.mark.parametrize(
    ("dtype", "read_as"),
    [
        ("float64", "float64"), (">f8", "float64"), ("int32", "float64"), ("uint64", "float64"),
        ("float32", "float32"), ("uint8", "float32"), ("int16", "float32"), ("float16", "float32"),
    ],
)  # fmt: skip
def test_any_type_of_number_is_read_in_a_type_that_loses_none(tmp_path, dtype, read_as):
    table = np.arange(40).reshape(20, 2).astype(dtype)
    if read_as == "float64":
        table[:, 1] += np.array(2**30 + 1, dtype)
    features_NF, _ = read_arrays(write(tmp_path / "a.h5", X=table, Y=table))
    assert features_NF.dtype == read_as
    assert np.array_equal(features_NF, table)


def test_an_offset_that_float64_holds_makes_no_difference(tmp_path, raw):
    """Times, prices and ids are counted from a far zero; float32 has one value in 64 there."""
    features_NF, targets_NK = (array.astype(np.float64) for array in raw)
    plain = load_data(write(tmp_path / "a.h5", X=features_NF, Y=targets_NK), TINY)
    moved = load_data(write(tmp_path / "b.h5", X=features_NF + 1.75e9, Y=targets_NK - 1e9), TINY)
    np.testing.assert_allclose(moved.features_NF, plain.features_NF, atol=1e-5)
    np.testing.assert_allclose(moved.targets_NK, plain.targets_NK, rtol=1e-6, atol=1e-5)


def test_a_column_that_float32_could_not_tell_apart_is_named(tmp_path, caplog, raw):
    features_NF = raw[0].astype(np.float64)
    load_data(write(tmp_path / "plain.h5", X=features_NF, Y=raw[1]), TINY)
    assert "float32" not in caplog.text
    features_NF[:, 1] += 1.7e9  # seconds since 1970
    load_data(write(tmp_path / "times.h5", X=features_NF, Y=raw[1]), TINY)
    (said,) = [line for line in caplog.messages if "float32" in line]
    assert said.endswith("times.h5 [X]: column 1 is centred in float64, as float32 lacks the digits of its values")


def test_predictions_keep_an_offset_that_the_targets_have(tmp_path, raw):
    targets_NK = raw[1].astype(np.float64) + 1e9
    data = load_data(write(tmp_path / "a.h5", X=raw[0], Y=targets_NK), TINY)
    assert data.precision == np.float64
    again = data.scaling.unscale_targets(data.targets_NK.numpy())
    np.testing.assert_allclose(again[:, :2], targets_NK[:, :2], rtol=0, atol=1e-4)
    assert load_data(write(tmp_path / "b.h5", X=raw[0], Y=raw[1]), TINY).precision == np.float32


def test_rounding_of_float64_is_no_signal(tmp_path, raw):
    noisy_NF = raw[0].astype(np.float64)
    noisy_NF[:, 1] = np.where(np.arange(60) % 2, 0.1 + 0.2, 0.3)
    data = load_data(write(tmp_path / "a.h5", X=noisy_NF, Y=noisy_NF), TINY)
    assert data.features_NF[:, 1].abs().max() < 1e-6
    assert data.targets_NK[:, 1].abs().max() < 1e-6


def test_whole_numbers_that_float64_rounds_are_counted(tmp_path, caplog):
    table = 2**60 + np.arange(40, dtype=np.int64).reshape(20, 2)
    table[0] = 0
    read_arrays(write(tmp_path / "a.h5", X=table, Y=GOOD))
    assert "[X]: 38 whole numbers are beyond 2**53 and lose digits" in caplog.text


def test_the_split_is_a_partition_that_depends_on_the_split_seed_alone():
    splits = files.split_rows(1000, TINY)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [800, 100, 100]
    assert sorted(np.concatenate([splits.train, splits.val, splits.test])) == list(range(1000))
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(TINY.split_seed)).numpy()
    assert np.array_equal(np.concatenate([splits.train, splits.val, splits.test]), order), "cut in this order"
    assert np.array_equal(splits.train, files.split_rows(1000, TINY.replace(data_seed=5)).train)
    assert not np.array_equal(splits.train, files.split_rows(1000, TINY.replace(split_seed=5)).train)


def text_table():
    return np.array([["a", "b"]] * 20, dtype=h5py.string_dtype())


GOOD = np.arange(40, dtype=np.float32).reshape(20, 2)
NAN, INFINITE, HUGE = (np.where(GOOD == 7, bad, GOOD.astype(np.float64)) for bad in (np.nan, np.inf, 1e300))
BAD_TABLES = {
    "no X": ({"Y": GOOD}, "no data set X"),
    "no Y": ({"X": GOOD, "y": GOOD}, "no data set Y"),
    "neither": ({}, "no data set X"),
    "nan": ({"X": NAN, "Y": GOOD}, r"\[X\].*NaN.*\[3, 1\]"),
    "infinite": ({"X": GOOD, "Y": INFINITE}, r"\[Y\].*\[3, 1\]"),
    "beyond float32": ({"X": HUGE, "Y": GOOD}, "beyond float32"),
    "one row": ({"X": GOOD[:1], "Y": GOOD[:1]}, r"only 1 row"),
    "nine rows": ({"X": GOOD[:9], "Y": GOOD[:9]}, r"only 9 row"),
    "no rows": ({"X": GOOD[:0], "Y": GOOD[:0]}, "empty"),
    "no columns": ({"X": GOOD[:, :0], "Y": GOOD}, "empty"),
    "one dimension": ({"X": GOOD, "Y": GOOD[:, 0]}, r"\[Y\].*1 dimension"),
    "three dimensions": ({"X": GOOD[None], "Y": GOOD}, "3 dimension"),
    "a number": ({"X": np.float32(1), "Y": GOOD}, "0 dimension"),
    "text": ({"X": text_table(), "Y": GOOD}, r"\[X\].*not numbers"),
    "bytes": ({"X": np.array([[b"a"]] * 20), "Y": GOOD}, "not numbers"),
    "complex": ({"X": GOOD + 1j, "Y": GOOD}, "complex"),
    "compound": ({"X": np.zeros((20, 2), [("a", "f4")]), "Y": GOOD}, "not numbers"),
    "fits neither way": ({"X": GOOD, "Y": GOOD[:15, :1]}, "neither dimension"),
}


@pytest.mark.parametrize(("arrays", "named"), BAD_TABLES.values(), ids=BAD_TABLES.keys())
def test_bad_tables_are_refused_by_name_and_place(tmp_path, arrays, named):
    path = write(tmp_path / "bad.h5", **arrays)
    with pytest.raises(BadInput, match=named) as caught:
        read_arrays(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_group_named_x_is_no_table(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("X")
        file["Y"] = GOOD
    with pytest.raises(BadInput, match="no data set X"):
        read_arrays(tmp_path / "a.h5")


def refused(path, named):
    with pytest.raises(BadInput, match=named) as caught:
        read_arrays(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_in_the_place_of_a_table_is_named(tmp_path):
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file.create_group("X")["values"] = GOOD
        file["Y"] = GOOD
    assert "found: X" not in refused(tmp_path / "group.h5", r"no data set X, but a group X \(in it: values\); store")
    with h5py.File(tmp_path / "type.h5", "w") as file:
        file["X"], file["Y"] = np.dtype("f4"), GOOD
    refused(tmp_path / "type.h5", "but a named type X")
    for name, link, named in (
        ("soft", h5py.SoftLink("/nowhere"), "but a link to /nowhere, which the file lacks"),
        ("external", h5py.ExternalLink("gone.h5", "/data"), r"but a link to /data in gone\.h5, which cannot be opened"),
    ):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["X"], file["Y"] = link, GOOD
        refused(tmp_path / f"{name}.h5", named)


def virtual(path, *, sources=("0.h5", "1.h5"), rows=20, name="x"):
    """Write a file whose X is made of ten rows of each source."""
    layout = h5py.VirtualLayout((rows, 2), "f4")
    for number, source in enumerate(sources):
        layout[10 * number : 10 * number + 10] = h5py.VirtualSource(source, name, (10, 2))
    with h5py.File(path, "w", libver="latest") as file:
        file.create_virtual_dataset("X", layout, fillvalue=0)
        file["Y"] = GOOD
    return path


def test_a_virtual_data_set_reads_as_its_sources_or_is_refused(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    path = virtual(tmp_path / "data" / "v.h5")
    refused(path, r"\[X\]: .*without 2 of its sources, which read as zeros: x in 0\.h5, x in 1\.h5; copy the sources")
    monkeypatch.chdir(tmp_path)
    for name in ("0.h5", "1.h5"):
        write(tmp_path / name, x=GOOD[:10])
    refused(path, "without 2 of its sources")  # those in the working folder are not meant
    write(path.with_name("0.h5"), x=GOOD[:10])
    refused(path, r"without 1 of its sources, which read as zeros: x in 1\.h5")
    write(path.with_name("1.h5"), y=GOOD[10:])
    refused(path, r"without 1 of its sources")
    write(path.with_name("1.h5"), x=GOOD[10:15])
    refused(path, r"without 1 of its sources")
    write(path.with_name("1.h5"), x=GOOD[10:])
    assert np.array_equal(read_arrays(path)[0], GOOD)
    monkeypatch.chdir(path.parent)
    assert np.array_equal(read_arrays(path.relative_to(path.parent))[0], GOOD)
    for name in ("0.h5", "1.h5"):
        path.with_name(name).rename(tmp_path / name)
    refused(path, "without 2 of its sources")
    code = f"from trainers.tabular_regressor.data import *; print(read_arrays(Path({str(path)!r}))[0].tolist())"
    environment = {**os.environ, "HDF5_VDS_PREFIX": "${ORIGIN}/..", "PYTHONPATH": str(ROOT)}
    elsewhere = subprocess.run(
        [sys.executable, "-c", f"from pathlib import Path; {code}"], env=environment, stdout=subprocess.PIPE, check=True
    )
    assert json.loads(elsewhere.stdout) == GOOD.tolist()


def test_a_virtual_data_set_that_its_sources_do_not_fill_is_refused(tmp_path):
    write(tmp_path / "0.h5", x=GOOD[:10])
    refused(virtual(tmp_path / "v.h5", sources=["0.h5"]), "whose sources are 20 of its 40 numbers")
    refused(virtual(tmp_path / "own.h5", sources=[".", "."], name="X"), "made of itself")


def test_what_nobody_wrote_is_refused_and_not_read_as_zeros(tmp_path):
    for name, settings, rows in (
        ("half.h5", {"chunks": (5, 2)}, 10),
        ("none.h5", {"chunks": (5, 2)}, 0),
        ("plain.h5", {}, 0),
    ):
        with h5py.File(tmp_path / name, "w") as file:
            file.create_dataset("X", (20, 2), "f4", **settings)
            file["Y"] = GOOD
            if rows:
                file["X"][:rows] = GOOD[:rows]
        refused(tmp_path / name, r"\[X\]: was not written completely")
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file.create_dataset("X", data=np.zeros_like(GOOD), chunks=(3, 1), compression="gzip", fletcher32=True)
        file.create_dataset("Y", data=GOOD, maxshape=(None, 2))
    assert np.array_equal(read_arrays(tmp_path / "whole.h5")[1], GOOD)


def matlab(path, kind=b"double", **arrays):
    """Write tables as `save -v7.3` does: with the dimensions the other way round, and MATLAB's class."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array.T).attrs["MATLAB_class"] = np.bytes_(kind)
    return path


def test_tables_of_matlab_have_the_shape_that_they_have_there(tmp_path, caplog):
    random = np.random.default_rng(0)
    X, Y = random.standard_normal((300, 20)), random.standard_normal((300, 20))
    features_NF, targets_NK = read_arrays(matlab(tmp_path / "square.mat", X=X, Y=Y))
    assert np.array_equal(features_NF, X)
    assert np.array_equal(targets_NK, Y)
    assert "is in MATLAB's order; X is (300, 20), Y is (300, 20)" in caplog.text
    samples_last = read_arrays(matlab(tmp_path / "last.mat", X=X.T, Y=Y[:, :3].T))
    assert np.array_equal(samples_last[0], X)
    refused(matlab(tmp_path / "text.mat", b"char", X=X.astype(np.uint16), Y=Y), "holds text, not numbers")


def test_a_missing_filter_is_named_by_its_number(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        created.set_chunk((20, 2))
        created.set_filter(32_001, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((20, 2))
        table = h5py.h5d.create(file.id, b"X", h5py.h5t.NATIVE_FLOAT, space, created)
        table.write_direct_chunk((0, 0), b"compressed", 0)
        file["Y"] = GOOD
    refused(
        tmp_path / "a.h5", r"\[X\]: is compressed by a filter that is not installed, number 32001; write it with gzip"
    )


HOLD = """
import sys, h5py
with h5py.File(sys.argv[1], "a") as file:
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_file_that_another_program_writes_is_named_as_that(tmp_path):
    path = write(tmp_path / "busy.h5", X=GOOD, Y=GOOD)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    environment = {name: value for name, value in os.environ.items() if name != "HDF5_USE_FILE_LOCKING"}
    with subprocess.Popen([sys.executable, "-c", HOLD, path], env=environment, **pipes) as writer:
        assert writer.stdout.readline() == b"open\n"
        refused(path, "is open in another program, which writes to it; close it there")
        writer.stdin.close()
    assert np.array_equal(read_arrays(path)[0], GOOD)


def test_files_that_are_no_hdf5_are_refused_by_name(tmp_path):
    (tmp_path / "empty.h5").touch()
    (tmp_path / "text.h5").write_text("X,Y\n1,2\n")
    (tmp_path / "folder.h5").mkdir()
    for name in ("empty.h5", "text.h5", "folder.h5", "missing.h5"):
        with pytest.raises(BadInput, match=name):
            read_arrays(tmp_path / name)


def test_a_truncated_file_is_refused_wherever_it_was_cut(tmp_path):
    whole = write(tmp_path / "whole.h5", X=GOOD, Y=GOOD).read_bytes()
    for length in range(1, len(whole), 97):
        (tmp_path / "cut.h5").write_bytes(whole[:length])
        with pytest.raises(BadInput, match=r"cut\.h5"):
            read_arrays(tmp_path / "cut.h5")


def test_a_column_that_overflows_when_scaled_is_refused(tmp_path):
    targets = GOOD.copy()
    targets[:, 1] = 1e-30 * np.arange(20)
    targets[0, 1] = 1e30
    with pytest.raises(BadInput, match="column 1 overflows"):
        load_data(write(tmp_path / "a.h5", X=GOOD, Y=targets), TINY)


def test_a_part_without_rows_is_refused(tmp_path):
    with pytest.raises(BadInput, match="test"):
        load_data(write(tmp_path / "a.h5", X=GOOD, Y=GOOD), TINY.replace(test_split=0.01))


def test_made_up_data_has_what_the_model_is_meant_for(tmp_path):
    config = RegressorConfig.preset("smoke")
    make_data(tmp_path / "a.h5", config)
    features_NF, targets_NK = read_arrays(tmp_path / "a.h5")
    assert features_NF.shape == (2000, 32)
    assert targets_NK.shape == (2000, 3)
    assert (features_NF.std(axis=0, dtype=np.float64) < 1e-9).sum() == 1
    inner = np.abs(targets_NK[:, -1])
    assert (inner < 0.5).mean() < 0.05, "the last target keeps away from zero, on either side of it"
    assert 0.2 < (targets_NK[:, -1] > 0).mean() < 0.8
    scaled = Scaling.of(features_NF, targets_NK).scale_targets(targets_NK)
    assert 0.001 < (np.abs(scaled) > 4).any(axis=1).mean() < 0.02, "about one row in a hundred is an outlier"
    values = np.linalg.svd(Scaling.of(features_NF, targets_NK).scale_features(features_NF), compute_uv=False)
    assert (values[:4] ** 2).sum() > 0.7 * (values**2).sum(), "X is of low rank, plus noise"
    steps = Scaling.of(features_NF, targets_NK).scale_features(features_NF)[:, 0]
    assert np.corrcoef(steps[1:], steps[:-1])[0, 1] > 0.5, "rows follow on each other"


def test_made_up_data_depends_on_its_seed_alone(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_data(tmp_path / name, TINY.replace(data_seed=seed))
    tables = {name: read_arrays(tmp_path / name) for name in "abc"}
    assert all(np.array_equal(one, other) for one, other in zip(tables["a"], tables["b"], strict=True))
    assert not np.array_equal(tables["a"][0], tables["c"][0])


def test_made_up_data_overwrites_nothing(tmp_path):
    (tmp_path / "mine.h5").write_text("mine")
    with pytest.raises(BadInput, match="exists"):
        make_data(tmp_path / "mine.h5", TINY)
    assert (tmp_path / "mine.h5").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_offline_data_is_made_once(private_cache):
    shutil.rmtree(private_cache / "trainers", ignore_errors=True)
    path = files.offline_data_path(TINY)
    assert path.is_relative_to(private_cache)
    written = path.stat().st_mtime_ns
    assert files.offline_data_path(TINY.replace(batch_size=3)) == path
    assert path.stat().st_mtime_ns == written
    assert files.offline_data_path(TINY.replace(data_seed=1)) != path
    assert [each.name for each in path.parent.iterdir() if each.name.startswith(".")] == []


def test_without_a_cache_the_offline_data_goes_to_the_temporary_folder(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(files.tempfile, "gettempdir", lambda: str(tmp_path))
    assert files.offline_data_path(TINY).is_relative_to(tmp_path / "trainers")


def loaded_tiny(**changes):
    return load_data(files.offline_data_path(TINY), TINY.replace(**changes))


def batches_of(num_workers, persistent, epochs):
    loaded = loaded_tiny()
    sampler = EpochSampler(loaded.part(loaded.splits.train))
    loader = make_loader(sampler.dataset, 16, sampler=sampler, num_workers=num_workers, persistent_workers=persistent)
    found = []
    for epoch in range(epochs):
        sampler.seek(seed=3, epoch=epoch, num_done=0)
        found.append([(features.clone(), targets.clone()) for features, targets in loader])
    stop_workers(loader)
    return found


def equal_batches(left, right):
    return all(
        torch.equal(a, b)
        for one, other in zip(left, right, strict=True)
        for pair, other_pair in zip(one, other, strict=True)
        for a, b in zip(pair, other_pair, strict=True)
    )


@pytest.mark.parametrize(("num_workers", "persistent"), [(0, True), (1, False), (2, False), (2, True), (3, True)])
def test_workers_do_not_change_batch_order(num_workers, persistent):
    assert equal_batches(batches_of(0, persistent=False, epochs=3), batches_of(num_workers, persistent, epochs=3))


def test_a_shared_generator_would_change_batch_order_under_persistent_workers():
    """The negative control: this is the order that `generator=` alone gives, which document 004 relies on."""

    def order(persistent):
        loader = torch.utils.data.DataLoader(
            torch.arange(50),
            batch_size=10,
            shuffle=True,
            num_workers=1,
            persistent_workers=persistent,
            generator=torch.Generator().manual_seed(0),
        )
        found = [torch.cat(list(loader)).tolist() for _ in range(2)]
        stop_workers(loader)
        return found

    with_persistence, without = order(persistent=True), order(persistent=False)
    assert with_persistence[0] == without[0]
    assert with_persistence[1] != without[1]


def test_every_epoch_has_its_own_order_of_the_same_rows():
    sampler = EpochSampler(loaded_tiny().part(np.arange(50)))
    orders = []
    for epoch in range(4):
        sampler.seek(seed=0, epoch=epoch, num_done=0)
        orders.append(tuple(sampler))
    assert len(set(orders)) == 4
    assert {tuple(sorted(order)) for order in orders} == {tuple(range(50))}
    sampler.seek(seed=1, epoch=0, num_done=0)
    assert tuple(sampler) not in orders


def test_an_order_can_be_continued_in_the_middle():
    sampler = EpochSampler(loaded_tiny().part(np.arange(50)))
    sampler.seek(seed=0, epoch=2, num_done=0)
    whole = list(sampler)
    sampler.seek(seed=0, epoch=2, num_done=20)
    assert list(sampler) == whole[20:]


def test_the_fingerprint_tells_data_apart(tmp_path, raw):
    upright = load_data(write(tmp_path / "a.h5", X=raw[0], Y=raw[1]), TINY)
    turned = load_data(write(tmp_path / "b.h5", X=raw[0].T, Y=raw[1].T), TINY)
    assert upright.fingerprint() == turned.fingerprint()
    assert upright.fingerprint() != loaded_tiny().fingerprint()


@pytest.mark.parametrize("changes", [{"split_seed": 5}, {"val_split": 0.2}, {"val_split": 0.05, "test_split": 0.15}])
def test_the_fingerprint_tells_splits_apart(changes):
    assert loaded_tiny().fingerprint() == loaded_tiny().fingerprint()
    assert loaded_tiny(**changes).fingerprint() != loaded_tiny().fingerprint()
