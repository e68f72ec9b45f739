"""The names of records: the machine gives the folder, date and commit give the file."""

import pytest

from speedclaims.record import paths as record_paths


def environment(**other):
    gpus = [{"name": "NVIDIA H200"}]
    return {"device": "cuda", "device_name": "NVIDIA H200 (AMD EPYC, 2 cores)", "gpus": gpus, **other}


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (environment(), "nvidia-h200"),
        (environment(device="cpu", device_name="AMD EPYC, 2 cores"), "cpu-amd-epyc-2-cores"),
        (environment(device="cpu", device_name="Intel(R) Core(TM) i7, 2 cores"), "cpu-intel-core-i7-2-cores"),
        (environment(device="cpu, cuda"), "nvidia-h200"),
        (environment(gpus=[{"name": "../../NVIDIA H200"}]), "nvidia-h200"),
        (environment(gpus=[{"name": "☃"}]), "unknown"),
    ],
)
def test_a_machine_names_its_folder(found, name):
    assert record_paths.machine(found) == name


@pytest.mark.parametrize(
    ("commit", "name"),
    [
        ({"id": "0123456789abcdef", "dirty": False}, "2026-11-21-0123456"),
        ({"id": "0123456789abcdef", "dirty": True}, "2026-11-21-0123456-changed"),
        ({"id": "unversioned", "dirty": None}, "2026-11-21-no-commit"),
        ({"id": "../../etc", "dirty": False}, "2026-11-21-no-commit"),
    ],
)
def test_a_record_is_named_by_date_and_commit(commit, name):
    data = {"datetime": "2026-11-21T10:00:00", "speedclaims": {"environment": {"commit": commit}}}
    assert record_paths.stem(data) == name
