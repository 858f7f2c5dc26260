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
from tests.benchmarks.machine import release
from tests.benchmarks.table import Progress, Row, figure
from tests.dicom import ct_series, encoded
from tests.services import state

SHAPE = (100, 512, 512)
"""Slices, rows and columns of the series."""
REPEATS = 3
"""Each path is timed this often, in turn."""


def run(shape: tuple[int, int, int] = SHAPE, repeats: int = REPEATS, progress: Progress = print) -> list[Row]:
    """Rows for a series from archive to volume, on Orthanc when it runs and on the sandbox otherwise.

    Raises RuntimeError when a path gives another volume than was stored.
    """
    volume = np.random.default_rng(7).integers(-1000, 1500, shape).astype(np.float32)
    images = ct_series(volume, PatientID=new_uid()[-12:])
    study, series = str(images[0].StudyInstanceUID), str(images[0].SeriesInstanceUID)
    services = state.read()
    with SandboxPacs() as pacs:
        where, url = "the sandbox", pacs.dicomweb_url
        if "dicomweb" in services:
            where, url = "Orthanc", str(services["dicomweb"])
        with DicomwebClient(url) as client:
            client.store(encoded(image) for image in images)
            paths = {
                "ours": lambda: _ours(client, study),
                "retrieve_series and stack": lambda: _peer_series(url, study, series),
                "one instance at a time": lambda: _peer_instances(url, study, series, images),
            }
            seconds: dict[str, list[float]] = {name: [] for name in paths}
            for turn in range(repeats):
                for name, path in paths.items():
                    progress(f"images: {shape[0]} slices, {name}, turn {turn + 1} of {repeats}")
                    seconds[name].append(_timed(path, volume))
    return [
        figure(
            "images",
            f"{shape[0]} slices of {shape[1]} x {shape[2]} from {where} to a volume",
            "s",
            seconds["ours"],
            seconds[name],
            f"dicomweb-client {release('dicomweb-client')}, {name}",
            less_is_better=True,
        )
        for name in list(paths)[1:]
    ]


def _timed(path: Callable[[], np.ndarray], volume: np.ndarray) -> float:
    began = time.perf_counter()
    found = path()
    took = time.perf_counter() - began
    if not np.array_equal(found, volume):
        raise RuntimeError("a path from the archive did not give the volume that was stored")
    return took


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
