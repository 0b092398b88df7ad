"""What tests of training need of torch."""

import pytest
import torch

needs_muon = pytest.mark.skipif(
    not hasattr(torch.optim, "Muon"), reason="torch before 2.9 cannot train the miniature"
)
"""Besides, workers now and then stand still at their end under torch 2.6 (gloo)."""
