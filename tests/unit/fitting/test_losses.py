import math

import pytest
import torch

from spt_core.fitting.losses import binary_loss


def test_the_loss_by_hand():
    logits = torch.tensor([[0.0], [math.log(3.0)]])
    loss = binary_loss(logits, torch.tensor([1.0, 1.0]), torch.ones(2))
    assert loss.item() == pytest.approx((math.log(2.0) + math.log(4 / 3)) / 2)


def test_members_are_trained_by_themselves():
    logits = torch.tensor([[2.0, -1.0]])
    targets, weights = torch.tensor([1.0]), torch.ones(1)
    apart = [binary_loss(logits[:, i : i + 1], targets, weights).item() for i in range(2)]
    assert binary_loss(logits, targets, weights).item() == pytest.approx(sum(apart) / 2)


def test_a_weight_counts_a_row_several_times():
    logits, targets = torch.tensor([[1.0], [-2.0]]), torch.tensor([1.0, 0.0])
    weighted = binary_loss(logits, targets, torch.tensor([3.0, 1.0]))
    repeated = binary_loss(logits[[0, 0, 0, 1]], targets[[0, 0, 0, 1]], torch.ones(4))
    assert weighted.item() == pytest.approx(repeated.item())


def test_a_soft_target_is_matched_at_its_own_odds():
    target = torch.tensor([0.3])
    logit = torch.logit(target)[:, None].requires_grad_()
    binary_loss(logit, target, torch.ones(1)).backward()
    assert logit.grad is not None
    assert logit.grad.abs().max() < 1e-6


def test_weights_of_zero_give_no_loss():
    assert binary_loss(torch.ones(2, 1), torch.zeros(2), torch.zeros(2)).item() == 0.0
