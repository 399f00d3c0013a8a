"""Optimal pairing of prototype sets."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations, permutations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import pad

ROUNDING = 1e-5  # of sums of cosines in single precision
_MAX_SUBSET_SIZE = 10
_BLOCK_ELEMENTS = {"cpu": 1 << 22, "cuda": 1 << 27}


def best_assignment(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Bijection of rows to columns with the largest sum of scores, exactly, for P problems at once.

    Up to 10 rows the problems are solved together by a dynamic program over the subsets of columns [1] in O(K 2^K)
    steps for each; larger ones go one by one to scipy.

    Args:
        scores: shape (P, K, K), floating point, each problem with a bijection of finite sum; -inf forbids a pair.

    Returns:
        The sums, shape (P,), and the column of each row, shape (P, K), int64.

    References:
        [1] Bellman, "Dynamic programming treatment of the travelling salesman problem", J. ACM 1962 (the subsets).
    """
    if scores.shape[1] > _MAX_SUBSET_SIZE:
        return _by_scipy(scores)
    size = scores.shape[1]
    elements = _BLOCK_ELEMENTS.get(scores.device.type, _BLOCK_ELEMENTS["cuda"])
    parts = [_by_subsets(part) for part in scores.split(max(1, elements // (size * 2**size)))]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def matched_similarity(a: Tensor, a_valid: Tensor, b: Tensor, b_valid: Tensor) -> tuple[Tensor, Tensor]:
    """Similarity of P pairs of prototype sets: the mean cosine under the best bijection between their valid members.

    ``max over sigma of mean_k cos(a_k, b_sigma(k))`` [1]; sets of different size match as many as the smaller one has.

    Args:
        a, b: L2-normalized prototypes, shapes (P, K, d) and (P, L, d); what stands where they are not valid is never
            used.
        a_valid, b_valid: which of them exist, shapes (P, K) and (P, L), bool.

    Returns:
        Similarity, shape (P,), in [-1, 1], -inf where a set is empty; and for each prototype of ``a`` its partner in
        ``b``, shape (P, K), int64, -1 where it has none.

    References:
        [1] Yu, Lin, Xu, "SLPD", MICCAI 2023: similarity of slides.
    """
    return assign_cosines(torch.einsum("pkd,pld->pkl", a, b), a_valid, b_valid)


def assign_cosines(cosines: Tensor, a_valid: Tensor, b_valid: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`matched_similarity`, from cosines of shape (P, K, L)."""
    scores, both, n_matched = _scores(cosines, a_valid, b_valid)
    total, partner = best_assignment(scores)
    partner, both = partner[:, : cosines.shape[1]], both[:, : cosines.shape[1]]
    is_pair = both.gather(2, partner[..., None]).squeeze(2)
    return _mean(total, n_matched), torch.where(is_pair, partner, -1)


def _mean(total: Tensor, n_matched: Tensor) -> Tensor:
    return torch.where(n_matched > 0, total / n_matched.clamp(min=1), -torch.inf)


def _scores(cosines: Tensor, a_valid: Tensor, b_valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What is assigned, square; which of it are pairs of prototypes, as large; and how many are matched (P,)."""
    n_rows, n_columns = cosines.shape[1:]
    if n_rows != n_columns:
        more_rows, more_columns = max(0, n_columns - n_rows), max(0, n_rows - n_columns)
        cosines = pad(cosines, (0, more_columns, 0, more_rows))
        a_valid, b_valid = pad(a_valid, (0, more_rows)), pad(b_valid, (0, more_columns))
    n_a, n_b = a_valid.sum(1), b_valid.sum(1)
    n_matched = torch.minimum(n_a, n_b)
    both = a_valid[:, :, None] & b_valid[:, None, :]
    # The larger set may leave members over: its valid members pair with the smaller set's invalid ones at no cost,
    # while a member of the smaller set may not stay alone, so that every bijection matches exactly n_matched pairs.
    alone_a = a_valid[:, :, None] & ~b_valid[:, None, :] & (n_a <= n_b)[:, None, None]
    alone_b = ~a_valid[:, :, None] & b_valid[:, None, :] & (n_b <= n_a)[:, None, None]
    return torch.where(both, cosines, 0.0).masked_fill_(alone_a | alone_b, -torch.inf), both, n_matched


def similarity_by_permutations(products: Tensor, members: tuple[int, int] = (-2, -1)) -> Tensor:
    """The similarity that :func:`matched_similarity` finds, in closed form: the best mean over all K! bijections.

    Of two members there are two, of three six; the sums are those of :func:`best_assignment`, to the bit.

    Args:
        products: cosines of the members of pairs of sets of K that all exist.
        members: dimensions of ``products`` along which those of the left and of the right sets lie.

    Returns:
        The other dimensions of ``products``.
    """
    pairs = products.movedim(members, (0, 1))
    found = None
    for order in permutations(range(len(pairs))):
        total = pairs[0, order[0]]
        for left, right in enumerate(order[1:], start=1):
            total = total + pairs[left, right]
        found = total if found is None else torch.maximum(found, total, out=found)
    assert found is not None
    return found.div(len(pairs))


def similarity_bound(
    products: Tensor, sizes: int | tuple[Tensor, Tensor], members: tuple[int, int] = (-2, -1)
) -> Tensor:
    """Upper bound of similarities, rounding included: the smaller of the summed row and the summed column maxima.

    Args:
        products: cosines of the members of pairs of sets, or what is never below them; 0 where a member does not
            exist: that adds nothing to a sum of maxima, and can only make another maximum larger.
        sizes: numbers of members: one for all sets, or those of the left and of the right ones, of shapes that
            broadcast to that of the result.
        members: dimensions of ``products`` along which those of the left and of the right sets lie.

    Returns:
        The other dimensions of ``products``; finite for an empty set, too.
    """
    left, right = members
    of_left = products.amax(right, keepdim=True).sum(members)
    of_right = products.amax(left, keepdim=True).sum(members)
    if isinstance(sizes, int):
        return torch.minimum(of_left, of_right).div_(sizes).add_(ROUNDING)
    # Only the members of the smaller set are sure to be matched, so only their maxima bound the sum.
    of_left.masked_fill_(sizes[0] > sizes[1], torch.inf)
    of_right.masked_fill_(sizes[0] < sizes[1], torch.inf)
    return torch.minimum(of_left, of_right).div_(torch.minimum(*sizes).clamp_(min=1)).add_(ROUNDING)


@lru_cache(maxsize=64)
def _transitions(size: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """For subsets of n = 1..size columns: position of each subset less one column, and that column, (C(size, n), n)."""
    levels = []
    position: dict[tuple[int, ...], int] = {(): 0}
    for n_columns in range(1, size + 1):
        subsets = list(combinations(range(size), n_columns))
        previous = [[position[s[:i] + s[i + 1 :]] for i in range(n_columns)] for s in subsets]
        levels.append((torch.tensor(previous, device=device), torch.tensor(subsets, device=device)))
        position = {subset: i for i, subset in enumerate(subsets)}
    return levels


def _by_subsets(scores: Tensor) -> tuple[Tensor, Tensor]:
    n_problems, size = scores.shape[:2]
    by_pair, best = scores.permute(1, 2, 0).contiguous(), scores.new_zeros(1, n_problems)
    levels, choices = _transitions(size, scores.device), []
    for row, (previous, columns) in enumerate(levels):
        best, choice = (best[previous] + by_pair[row][columns]).max(1)
        choices.append(choice)
    partner = torch.empty(n_problems, size, dtype=torch.long, device=scores.device)
    subset = torch.zeros(n_problems, dtype=torch.long, device=scores.device)
    for row in range(size - 1, -1, -1):
        choice = choices[row].gather(0, subset[None])[0]
        previous, columns = levels[row]
        partner[:, row] = columns[subset, choice]
        subset = previous[subset, choice]
    return best[0], partner


def _by_scipy(scores: Tensor) -> tuple[Tensor, Tensor]:
    host = scores.double().cpu().numpy()
    columns = [linear_sum_assignment(problem, maximize=True)[1] for problem in host]
    partner = torch.from_numpy(np.array(columns, dtype=np.int64).reshape(scores.shape[:2])).to(scores.device)
    return scores.gather(2, partner[..., None]).sum((1, 2)), partner
