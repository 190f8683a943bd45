"""The points of a scan, kept in its folder: `dsm resume` goes on with those that have not begun as well."""

import json
import os
import re
import socket
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from dsm_hpc.errors import InputError
from dsm_hpc.inputfile import MAX_NAME, MAX_POINTS, Job, Point, parse_resolved
from dsm_hpc.storage.disk import bring_to_disk

NAME = "scan.json"
FORMAT, VERSION = "dsm-hpc-scan", 1
MAX_BYTES = 256 << 20

Item = TypeVar("Item")


def write(folder: Path, job: Job, overrides: tuple[str, ...], overwrite: bool) -> None:
    """Keeps the points of a job, in one step: the tasks of an array may do so at the same time.

    Raises InputError if the folder has another scan, which is not to be overwritten.
    """
    points = [{"values": point.values, "config": point.config.as_yaml()} for point in job.points]
    told = {
        "format": FORMAT,
        "format_version": VERSION,
        "input": job.text,
        "overrides": overrides,
        "points": points,
    }
    text, path = json.dumps(told), folder / NAME
    if path.exists() and not overwrite and path.read_text(errors="replace") != text:
        raise InputError(f"{path}: is the list of another scan; give --overwrite, or another folder")
    temporary = folder / f".{NAME}.{socket.gethostname()}.{os.getpid()}.tmp"
    temporary.write_text(text)
    bring_to_disk(temporary)
    temporary.replace(path)


def read(folder: Path) -> tuple[Job, tuple[str, ...]]:
    """The job of a scan's folder, and its --set words.  Raises InputError if that is missing or damaged."""
    path = folder / NAME
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(MAX_BYTES))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror}; needed is the folder of a scan"
        ) from None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise InputError(f"{path}: is not the list of a scan's points, or damaged")
    if told.get("format_version") != VERSION:
        raise InputError(
            f"{path}: format_version is {told.get('format_version')!r:.40}; this dsm_hpc reads {VERSION}"
        )
    text, overrides, entries = told.get("input"), told.get("overrides"), told.get("points")
    if not isinstance(text, str) or not _is_list_of(overrides, str) or not _is_list_of(entries, dict):
        raise InputError(f"{path}: damaged: points, input or overrides are missing")
    if not 1 <= len(entries) <= MAX_POINTS:
        raise InputError(f"{path}: damaged: {len(entries)} points: a scan has 1 to {MAX_POINTS}")
    job = Job(text, tuple(_point(entry, path) for entry in entries))
    names = [point.name for point in job.points]
    if len(set(names)) < len(names) or max(map(len, names)) > MAX_NAME:
        raise InputError(f"{path}: damaged: the points have no file names of their own")
    return job, tuple(overrides)


def _point(entry: dict[str, Any], path: Path) -> Point:
    """A point; its keys become part of a file name."""
    values, config = entry.get("values"), entry.get("config")
    words = isinstance(values, dict) and values and all(re.fullmatch(r"[a-z0-9_.]+", key) for key in values)
    if not isinstance(values, dict) or not words or not isinstance(config, str):
        raise InputError(f"{path}: damaged: a point is not a mapping of keys to values, with a configuration")
    return Point(values, parse_resolved(config, f"{path}: config"))


def _is_list_of(value: Any, kind: type[Item]) -> TypeGuard[list[Item]]:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)
