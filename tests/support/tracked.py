"""Reads what the libraries of trackers have written to local files."""

import json
import pathlib
import struct
import time

_BLOCK = 32768  # bytes of a block of LevelDB's log format
_HEADER = 7  # bytes: checksum, length and type of a piece of a record


def tensorboard_events(folder):
    """Reads a TensorBoard folder."""
    from tensorboard.backend.event_processing import event_accumulator

    events = event_accumulator.EventAccumulator(str(folder))
    return events.Reload()


def wandb_records(folder):
    """Returns the records of finished runs that wandb wrote offline, in their order."""
    files = sorted(pathlib.Path(folder).glob("wandb/offline-run-*/*.wandb"))
    return [record for path in files for record in _wait_for_records(path)]


def _wait_for_records(path, seconds=20):
    """Waits for the last record: wandb's own process may write after `finish`."""
    from wandb.proto import wandb_internal_pb2

    end = time.monotonic() + seconds
    while True:
        contents = list(_leveldb_records(path.read_bytes()))
        records = [wandb_internal_pb2.Record.FromString(c) for c in contents]
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        assert time.monotonic() < end, f"{path} has no end"
        time.sleep(0.1)


def wandb_history(folder):
    """Returns the rows of wandb's history, and the run's settings by name."""
    rows, settings = [], {}
    for record in wandb_records(folder):
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({_name(i): json.loads(i.value_json) for i in items})
        for update in (record.run.config.update, record.config.update):
            settings.update({_name(i): json.loads(i.value_json) for i in update})
    return rows, settings


def _name(item):
    return item.key or "/".join(item.nested_key)


def _leveldb_records(content):
    position, record = _HEADER, b""
    while position + _HEADER <= len(content):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:
            position += left
            continue
        length, kind = struct.unpack_from("<HB", content, position + 4)
        position += _HEADER
        record += content[position : position + length]
        position += length
        if kind in (1, 4):  # a complete record, or the last piece of one
            yield record
            record = b""
