"""Activations as columns of Parquet: lists of float16, or of float32 where that would overflow, null where absent."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from flashbulb.hooks.overlap import FLOAT16_MAX


def names_of_activations(schema: pa.Schema) -> list[str]:
    """Return the names of the columns that hold one list of numbers per row."""
    return [column.name for column in schema if pa.types.is_fixed_size_list(column.type)]


def as_column(name: str, values: Tensor) -> pa.Array:
    """Convert activations [row, neuron] to a column of lists, null where a row is NaN in all neurons.

    Raises:
        ValueError: the values are not 2-D; the message calls them `name`.
    """
    if values.ndim != 2:
        raise ValueError(f"{name} must be [row, neuron], got shape {tuple(values.shape)}")
    stored, is_absent = _rounded(values)
    flat = pa.array(stored.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, stored.shape[1], mask=pa.array(is_absent))


def as_rows(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """Convert a column of lists to [row, neuron]; null rows become NaN."""
    rows = np.empty((len(column), column.type.list_size), dtype=np.float32)
    begin = 0
    for chunk in column.chunks:
        end = begin + len(chunk)
        values = chunk.values.to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)
        rows[begin:end] = values[chunk.offset : chunk.offset + len(chunk)]
        rows[begin:end][chunk.is_null().to_numpy(zero_copy_only=False)] = np.nan
        begin = end
    return rows


def as_read(values: Tensor) -> npt.NDArray[np.float32]:
    """Return activations [row, neuron] as a shard returns them: rounded, and NaN where a row is null."""
    stored, is_absent = _rounded(values)
    rows = stored.astype(np.float32)
    rows[is_absent] = np.nan
    return rows


def _rounded(values: Tensor) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return activations in the type in which they are stored, and which rows are absent: [row, neuron], [row]."""
    values = values.detach().cpu()
    is_absent = values[:, :1].isnan().any(dim=1)  # [row]; so far by the first neuron
    if is_absent.any():
        is_absent[is_absent.clone()] = values[is_absent].isnan().all(dim=1)
    stored = values.masked_fill(is_absent[:, None], 0.0) if is_absent.any() else values
    if stored.dtype != torch.float16:
        stored = stored.to(torch.float32 if _largest(stored) > FLOAT16_MAX else torch.float16)
    return stored.contiguous().numpy(), is_absent.numpy()


def _largest(values: Tensor) -> float:
    """Return the largest finite magnitude, 0 if there is none."""
    if not values.numel():
        return 0.0
    least, most = values.aminmax()
    if least.isfinite() and most.isfinite():  # else it is NaN or infinite
        return max(-float(least), float(most))
    return float(torch.where(values.isfinite(), values.abs(), 0.0).max())
