"Other methods in miniature, on cases known by hand."
from types import SimpleNamespace
import pytest, torch
from torch.testing import assert_close
from argus_nb import baselines


# --- Adapted to the clip -------------------------------------------------------------------------------------------

def test_a_low_rank_addition_starts_at_nothing_and_has_its_rank():
    part = baselines.LowRank(torch.zeros(8, 6), 2)
    assert_close(part(torch.ones(8, 6)), torch.ones(8, 6))
    torch.nn.init.normal_(part.up)
    assert torch.linalg.matrix_rank(part(torch.zeros(8, 6))) == 2


# --- Window by window ----------------------------------------------------------------------------------------------

class Remembers(torch.nn.Module):
    "A network that hands on its latents, and what it was told."
    dtype = torch.float32
    def __init__(self): super().__init__(); self.told = []
    def forward(self, x, level, embeddings, added_time_ids):
        self.told.append(embeddings)
        return SimpleNamespace(sample=x[:, :, :4])

@pytest.mark.parametrize('width, window, stride, starts',
                         [(16, 8, 4, [0, 4, 8]), (10, 4, 4, [0, 4, 6]), (8, 8, 4, [0])])
def test_windows_cover_the_map_and_agree_where_they_overlap(width, window, stride, starts):
    network, x = Remembers(), torch.randn(1, 2, 8, 4, width)
    made = baselines.WindowByWindow(network, window, stride)(x, torch.zeros(1), torch.zeros(1, 2, 16),
        torch.zeros(1, 3)).sample
    assert_close(made, x[:, :, :4])
    assert_close(torch.stack([told[0, 0] for told in network.told]),
                 torch.stack([baselines.place_code(start, window, width, 16) for start in starts]))

def test_a_window_is_told_how_far_it_is_from_the_middle():
    left, middle, right = (baselines.place_code(start, 4, 12, 8) for start in (0, 4, 8))
    assert_close(middle, torch.tensor([0.]*4 + [1.]*4))
    assert_close(left[:4], -right[:4]); assert_close(left[4:], right[4:])
    assert (left - right).abs().max() > .5
