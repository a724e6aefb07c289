"""A lower bound on ε from one training run, by how many coin flips were guessed from the model.

Steinke, Nasr and Jagielski, "Privacy auditing with one (1) training run" (NeurIPS 2023, arXiv 2305.08846), theorem 5.2.
Of m examples each is in the training set by a fair coin flip of its own. The auditor guesses r of the flips from the
trained model and leaves the others open. If training is (ε, δ)-differentially private, the probability of v or more
right guesses is at most β + 2mδα. Here β = P[W ≥ v] and α = max over i of P[v > W ≥ v − i] / i, where W is binomial:
r guesses, each right with probability e^ε / (1 + e^ε). The bound is the largest ε that the guesses refute.

The number of guesses r has to be fixed before the model is looked at.
"""

from dataclasses import dataclass
from math import exp, lgamma, log1p

_HALVINGS = 40


@dataclass(frozen=True, slots=True)
class EpsilonBound:
    """What guessing the coin flips of canaries shows about ε.

    Args:
        n_canaries: canaries that were in or out by a coin flip.
        n_guesses: flips that were guessed; the number was fixed before.
        n_correct: guesses that were right.
        epsilon: lower bound on ε; 0 where the guesses show nothing.
        ceiling: the bound if every guess had been right.
    """

    n_canaries: int
    n_guesses: int
    n_correct: int
    epsilon: float
    ceiling: float


def epsilon_bound(n_canaries: int, n_guesses: int, n_correct: int, delta: float, confidence: float) -> EpsilonBound:
    """Return the lower bound on ε at this δ that holds with probability `confidence`, and its ceiling."""
    low, high = (lower_epsilon(n_canaries, n_guesses, right, delta, confidence) for right in (n_correct, n_guesses))
    return EpsilonBound(n_canaries, n_guesses, n_correct, low, high)


def lower_epsilon(n_canaries: int, n_guesses: int, n_correct: int, delta: float, confidence: float) -> float:
    """Return the largest ε for which so many right guesses have a probability below 1 − `confidence`; 0 if none.

    Raises:
        ValueError: the counts do not fit together, or δ or the confidence is no probability.
    """
    if not 0 <= n_correct <= n_guesses <= n_canaries:
        raise ValueError(f"{n_correct} right of {n_guesses} guesses of {n_canaries} canaries is impossible")
    if not (0 <= delta < 1 and 0 < confidence < 1):
        raise ValueError(f"delta {delta} and confidence {confidence} are no probabilities")
    level = 1 - confidence

    def is_refuted(epsilon: float) -> bool:
        return p_value(n_canaries, n_guesses, n_correct, epsilon, delta) < level

    if not is_refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while is_refuted(high):
        low, high = high, high + 1
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_refuted(middle) else (low, middle)
    return low


def p_value(n_canaries: int, n_guesses: int, n_correct: int, epsilon: float, delta: float) -> float:
    """Return the largest probability of `n_correct` or more right guesses that (ε, δ)-private training allows."""
    beta = sum(_binomial(n_guesses, right, epsilon) for right in range(n_correct, n_guesses + 1))
    if delta == 0:
        return min(beta, 1.0)
    alpha, below = 0.0, 0.0
    for i in range(1, n_correct + 1):
        below += _binomial(n_guesses, n_correct - i, epsilon)
        alpha = max(alpha, below / i)
    return min(beta + 2 * n_canaries * delta * alpha, 1.0)


def _binomial(n: int, k: int, epsilon: float) -> float:
    """Return the probability of `k` right of `n` guesses, each right with probability e^ε / (1 + e^ε)."""
    log_right = -log1p(exp(-epsilon))
    log_wrong = log_right - epsilon
    return exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log_right + (n - k) * log_wrong)
