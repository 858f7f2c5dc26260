"""Fetching and reading a series: our path against dicomweb-client on the same archive in the same run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from dicomweb_client.api import DICOMwebClient as PeerClient

from connectors.dicomweb.client import DicomwebClient
from connectors.dicomweb.pixels import read_series
from connectors.dicomweb.uids import new_uid
from connectors.sandbox.pacs import SandboxPacs
from tests.dicom import ct_series, encoded
from tests.services import state

SHAPE = (200, 512, 512)
"""Slices, rows and columns of the series."""
REPEATS = 2
"""Each path is timed this often, in turn, and its fastest time is kept."""


def run() -> list[dict[str, Any]]:
    """Time three ways from archive to volume, on Orthanc when it runs and on the sandbox otherwise.

    Each row gives seconds, and the ratio against dicomweb-client's `retrieve_series` with stacking
    (above 1: the peer takes longer).
    """
    volume = np.random.default_rng(7).integers(-1000, 1500, SHAPE).astype(np.float32)
    images = ct_series(volume, PatientID=new_uid()[-12:])
    study, series = str(images[0].StudyInstanceUID), str(images[0].SeriesInstanceUID)
    services = state.read()
    with SandboxPacs() as pacs:
        where, url = "sandbox", pacs.dicomweb_url
        if "dicomweb" in services:
            where, url = "orthanc", str(services["dicomweb"])
        with DicomwebClient(url) as client:
            client.store(encoded(image) for image in images)
            rows = {
                "prelim: fetch and read in a limited process": lambda: _ours(client, study),
                "dicomweb-client: retrieve_series and stack": lambda: _peer_series(url, study, series),
                "dicomweb-client: instance by instance": lambda: _peer_instances(url, study, series, images),
            }
            for name, path in rows.items():
                if not np.array_equal(path(), volume):
                    raise AssertionError(f"{name} did not give the volume that was stored")
            times = [{name: _timed(path) for name, path in rows.items()} for _ in range(REPEATS)]
            seconds = {name: min(turn[name] for turn in times) for name in rows}
    peer = seconds["dicomweb-client: retrieve_series and stack"]
    return [
        {
            "benchmark": "series from archive to volume",
            "path": name,
            "archive": where,
            "slices": SHAPE[0],
            "seconds": round(took, 3),
            "peer_over_this": round(peer / took, 2),
        }
        for name, took in seconds.items()
    ]


def _timed(path: Callable[[], object]) -> float:
    began = time.perf_counter()
    path()
    return time.perf_counter() - began


def _ours(client: DicomwebClient, study: str) -> np.ndarray:
    with tempfile.TemporaryDirectory() as name:
        client.fetch_study(study, Path(name), byte_cap=1 << 31)
        return read_series(Path(name)).voxels


def _peer_series(url: str, study: str, series: str) -> np.ndarray:
    return _stacked(PeerClient(url).retrieve_series(study, series))


def _peer_instances(url: str, study: str, series: str, images: list[Any]) -> np.ndarray:
    client = PeerClient(url)
    return _stacked([client.retrieve_instance(study, series, str(i.SOPInstanceUID)) for i in images])


def _stacked(datasets: list[Any]) -> np.ndarray:
    """Stack as the usual scripts do: by the z of the position, with slope and intercept."""
    datasets = sorted(datasets, key=lambda dataset: float(dataset.ImagePositionPatient[2]))
    return np.stack(
        [
            d.pixel_array.astype(np.float32) * np.float32(d.RescaleSlope) + np.float32(d.RescaleIntercept)
            for d in datasets
        ]
    )


if __name__ == "__main__":
    for row in run():
        print(row)
