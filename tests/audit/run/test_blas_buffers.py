"""The buffers of BLAS libraries are taken before work begins, where too little memory can still be reported."""

import json
import sys

import pytest

from tests.processes import fork_python

CODE = """
import json, resource, sys
import numpy as np
from scipy.linalg.blas import dgemm
from sklearn.neighbors import NearestNeighbors
from flashbulb.audit.run.torch_state import computing
from tests.bench.faults.injection import limit_memory

before, left = json.loads(sys.argv[1])
limit_memory(before << 20)
try:
    with computing():
        limit_memory(left << 20)
        square = np.ones((300, 300))
        dgemm(1.0, square @ square, square)
        NearestNeighbors(n_neighbors=5).fit(square).kneighbors(square)
    with computing():  # needs no second buffer
        print("computed")
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="its C library enforces the limit")
@pytest.mark.parametrize(("before", "left", "said"), [(60, 60, "Cannot allocate memory"), (200, 24, "computed")])
def test_linear_algebra_takes_its_buffers_before_work_begins(before: int, left: int, said: str) -> None:
    ended = fork_python(
        CODE, json.dumps([before, left]), environment={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    ).wait()
    assert (ended.code, ended.out.strip()) == (0, said), ended.err
