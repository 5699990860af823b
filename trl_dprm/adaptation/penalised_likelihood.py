"""The likelihood of votes as logits move along given directions, and its maximum."""

import numpy as np


class PenalisedLikelihood:
    """`Σ_ik n_ik log softmax(z_i + X_i θ)_k − τ/2 ‖θ‖²`: concave in θ, with gradient and curvature in closed form.

    Args:
        logits (`np.ndarray` of shape `(N, K)`): z.
        counts (`np.ndarray` of shape `(N, K)`): n.
        design (`np.ndarray` of shape `(N, K, D)`): X.
        lowest (`float`, *optional*): bound of θ, for D = 1.

    θ is `change` below, of shape `(D,)`; τ is `weight`, at least 0.

    Source: maximum likelihood of a multinomial logit with a Gaussian prior, as in MacKay 1992, "Bayesian
    interpolation", whose evidence `log_evidence` approximates.

    Example:

    >>> votes = PenalisedLikelihood(np.zeros((1, 2)), np.array([[3.0, 1.0]]), np.array([[[1.0], [0.0]]]))
    >>> votes.maximise(0.0).round(4)  # log 3
    array([1.0986])
    """

    def __init__(self, logits, counts, design, lowest=None):
        self.logits, self.counts, self.design, self.lowest = logits, counts, design, lowest
        self.votes = counts.sum(1, keepdims=True)
        self.nothing = np.zeros(design.shape[2])

    def log_probs(self, change: np.ndarray) -> np.ndarray:
        """Log-probabilities of the changed logits, `(N, K)`."""
        logits = self.logits + self.design @ change
        logits -= logits.max(1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(1, keepdims=True))

    def log_likelihood(self, change: np.ndarray) -> float:
        """Of the votes, without the penalty."""
        return float((self.counts * self.log_probs(change)).sum())

    def loss(self, change: np.ndarray, weight: float) -> float:
        """What is minimised."""
        return weight / 2 * change @ change - self.log_likelihood(change)

    def gradient_and_curvature(self, change: np.ndarray, weight: float) -> tuple[np.ndarray, np.ndarray]:
        """Of the loss: sums over items of the design's mean and covariance under each item's probabilities."""
        probs, size = np.exp(self.log_probs(change)), len(change)
        deviation = self.design - np.einsum("ik,ikd->id", probs, self.design)[:, None]
        deviation = (deviation * np.sqrt(self.votes * probs)[:, :, None]).reshape(-1, size)
        gradient = (self.votes * probs - self.counts).reshape(-1) @ self.design.reshape(-1, size)
        return gradient + weight * change, deviation.T @ deviation + weight * np.eye(size)

    def maximise(self, weight: float, start: np.ndarray | None = None) -> np.ndarray:
        """θ at the maximum, by Newton steps that are halved until the loss falls enough.

        Args:
            weight (`float`): τ.
            start (`np.ndarray` of shape `(D,)`, *optional*): where to begin; 0 if not given.

        Raises:
            ValueError: where the votes do not determine θ.
        """
        change = self.nothing if start is None else start
        total = self.votes.sum()
        for _ in range(100):
            gradient, curvature = self.gradient_and_curvature(change, weight)
            if np.linalg.eigvalsh(curvature).min() < 1e-9 * total:
                break
            step = np.linalg.solve(curvature, gradient)
            if gradient @ step < 1e-18 * total:  # twice what the loss could still fall by
                return change if self.lowest is None else np.maximum(change, self.lowest)
            loss, size = self.loss(change, weight), 1.0
            rounding = 1e-13 * (1 + abs(loss))
            while self.loss(change - size * step, weight) > loss - 1e-4 * size * gradient @ step + rounding:
                size /= 2
            change = change - size * step
        raise ValueError(
            f"the {total:g} votes do not determine the map with prior_weight {weight:g}: some category has none, or "
            "some change of the map changes nothing. Give a larger one, 'auto', or a smaller kind of map."
        )

    def log_evidence(self, change: np.ndarray, weight: float) -> float:
        """Laplace's approximation of the votes' log-likelihood with θ integrated out under its prior."""
        _, log_determinant = np.linalg.slogdet(self.gradient_and_curvature(change, weight)[1] / weight)
        return self.log_likelihood(change) - weight / 2 * change @ change - log_determinant / 2
