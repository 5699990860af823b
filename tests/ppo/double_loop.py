"""Generalised advantage estimation as it is defined: slow, and independent of the one that is tested."""

import numpy as np


def advantages_by_double_loop(rewards, values, mask, gamma, lam):
    """The definition: a sum over all later one-step errors, on the tokens that count and nothing else."""
    advantages = np.zeros(rewards.shape)
    for row in range(len(rewards)):
        places = np.flatnonzero(mask[row])
        r, v = rewards[row][places], np.append(values[row][places], 0.0)
        for i, place in enumerate(places):
            for j in range(i, len(places)):
                advantages[row, place] += (gamma * lam) ** (j - i) * (r[j] + gamma * v[j + 1] - v[j])
    return advantages
