"""Let an accelerator compute on while rows move to the host and while the next prompts are encoded."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

FLOAT16_MAX = torch.finfo(torch.float16).max  # 65504


def begin_transfer(rows: Mapping[str, Tensor], *, exact: bool = False) -> Callable[[], dict[str, Tensor]]:
    """Begin to move rows to the host, and return what waits for them; the caller computes on in between.

    From a GPU, one copy into pinned memory moves all of them, on a stream of its own. It moves them in float16, as
    they are stored, unless a finite value of them is above 65504 or a value is infinite. Rows on the CPU stay as they
    are.

    Args:
        rows: [row, neuron] by column, of one device and one dtype.
        exact: keep the dtype.
    """
    first = next(iter(rows.values()), None)
    if first is None or not first.is_cuda:
        return lambda: {name: values.cpu() for name, values in rows.items()}
    names, widths = list(rows), [values.shape[1] for values in rows.values()]
    together = torch.cat(list(rows.values()), dim=1)  # [row, neuron of any column]
    # NaN is the absence of a token class, or is refused when the shard is written
    largest = torch.linalg.vector_norm(together.nan_to_num(nan=0.0, posinf=math.inf, neginf=-math.inf), math.inf)
    small = together if exact else together.half()
    copying, copied = torch.cuda.Stream(first.device), torch.cuda.Event()  # type: ignore[no-untyped-call]
    copying.wait_stream(torch.cuda.current_stream(first.device))
    on_device = (small, largest)  # held until they are copied
    with torch.cuda.stream(copying):
        on_host = [tensor.to("cpu", non_blocking=True) for tensor in on_device]
        copied.record()

    def wait(_held: object) -> dict[str, Tensor]:
        copied.synchronize()
        fits = exact or bool(on_host[1] <= FLOAT16_MAX)
        moved = on_host[0].clone() if fits else together.cpu()  # a clone is not pinned
        return dict(zip(names, moved.split(widths, dim=1), strict=True))

    return partial(wait, on_device)


def streams_aside(device: torch.device, n: int) -> list[torch.cuda.Stream]:
    """Return streams of a GPU that see what lies on it now."""
    streams = [torch.cuda.Stream(device) for _ in range(n)]  # type: ignore[no-untyped-call]
    for stream in streams:
        stream.wait_stream(torch.cuda.current_stream(device))
    return streams


@contextmanager
def beside(stream: torch.cuda.Stream | None) -> Iterator[None]:
    """Issue work on another stream of a GPU while the context is open; None issues it as ever.

    It does not wait for what runs already, and what is issued afterwards waits for it. Its results must be held until
    the work that reads them is done.
    """
    if stream is None:
        yield
        return
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(stream.device).wait_stream(stream)
