"""Student's t with six degrees of freedom, against scipy and torch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student_t

from models.student import DEGREES, below, quantile
from models.summary_net import student_loss


@given(st.floats(-50, 50))
def test_below_is_the_distribution(value: float) -> None:
    """As scipy has it."""
    assert float(below(np.array(value))) == pytest.approx(student_t.cdf(value, DEGREES), abs=1e-12)


@given(st.floats(0.001, 0.999))
def test_quantile_is_its_inverse(share: float) -> None:
    """And a share that is none is refused."""
    assert float(below(np.array(quantile(share)))) == pytest.approx(share, abs=1e-12)
    with pytest.raises(ValueError):
        quantile(1.0)


@given(st.floats(-3, 3), st.floats(-2, 1), st.floats(-3, 3))
def test_the_loss_is_minus_the_log_density(location: float, log_scale: float, actual: float) -> None:
    """As torch's distributions have it."""
    density = torch.distributions.StudentT(DEGREES, location, float(np.exp(log_scale)))
    wanted = density.log_prob(torch.tensor(actual))  # type: ignore[no-untyped-call]
    found = student_loss(*(torch.tensor([x], dtype=torch.float64) for x in (location, log_scale, actual)))
    assert float(found) == pytest.approx(-float(wanted), rel=1e-4, abs=1e-5)
